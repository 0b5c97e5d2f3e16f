"""Verdicts held against real migrations of QEMU."""
