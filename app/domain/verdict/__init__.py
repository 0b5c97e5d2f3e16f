"""The rule of a verdict (DESIGN 5), stated plainly: start with `judge.py`, which takes the steps in order.

The engine answers the questions of the service. It takes the same steps, remembers what it can, and is held equal to
this package by property tests.
"""
