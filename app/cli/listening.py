"""Listening on an address, for commands that serve."""

import errno
import socket

from app.cli.output import fail


def check_free(host: str, port: int) -> None:
    """Exit with an error if the port is in use."""
    try:
        with socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            pass
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            fail(f"cannot listen on {host}, port {port}: {error.strerror}")
        fail(f"port {port} is in use; choose another, such as --port {port + 1}")
