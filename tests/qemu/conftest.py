"""Fixtures for the tests with real QEMUs: the registry behind the client of the commands."""

from tests.cli.conftest import api, service

__all__ = ["api", "service"]
