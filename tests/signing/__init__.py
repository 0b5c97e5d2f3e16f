"""Tests of keys, checkpoints and envelopes."""
