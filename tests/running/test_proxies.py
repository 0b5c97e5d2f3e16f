"""Behind a proxy: only the proxies that the operator names can say who a client is."""

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.conftest import TOKEN
from tests.running.conftest import ROOT, TLS, command, environment, wait_until_ready

_LIMIT = 5
# An address of the loopback network, so that a client at 127.0.0.1 is somebody else.
_PROXY = "127.0.0.2"


@contextmanager
def serving(folder: Path, **settings: str) -> Iterator[str]:
    """Yield the address of a service that logs JSON to the file `log` in the folder."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    limits = {"requests_per_minute": str(_LIMIT), "wrong_tokens_per_minute": "1"}
    stored = {"database_url": f"sqlite:///{folder}/r.db", "admin_token": TOKEN}
    variables = environment(ROOT, **{**stored, **limits, "log_format": "json", **settings})
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command("serve", "--port", str(port)), env=variables, stderr=log)
    try:
        wait_until_ready(url)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def _send(url: str, forwarded: str, *, sender: str = "127.0.0.1", **headers: str) -> httpx.Response:
    """Send a request from an address, with what its X-Forwarded-For says."""
    transport = httpx.HTTPTransport(local_address=sender, verify=TLS)
    with httpx.Client(transport=transport, headers={"X-Forwarded-For": forwarded, **headers}) as client:
        return client.get(f"{url}/models")


def _addresses(folder: Path) -> list[str]:
    """Return the addresses that are logged with the requests for models."""
    lines = [json.loads(line) for line in (folder / "log").read_text().splitlines() if line.startswith("{")]
    return [line["address"] for line in lines if line["path"] == "/models"]


@pytest.mark.parametrize("trusted", ["[]", f'["{_PROXY}"]'], ids=["no proxy", "another proxy"])
def test_a_forged_address_changes_neither_the_share_nor_the_log(tmp_path: Path, trusted: str) -> None:
    with serving(tmp_path, trusted_proxies=trusted) as url:
        statuses = [_send(url, f"203.0.113.{number}").status_code for number in range(_LIMIT + 2)]
    assert statuses == [200] * _LIMIT + [429] * 2
    assert set(_addresses(tmp_path)) == {"127.0.0.1"}


def test_a_forged_address_does_not_help_to_guess_tokens(tmp_path: Path) -> None:
    with serving(tmp_path) as url:
        statuses = [
            _send(url, f"203.0.113.{number}", Authorization="Bearer guessed").status_code for number in range(3)
        ]
    assert statuses == [401, 429, 429]


def test_a_trusted_proxy_says_who_the_client_is(tmp_path: Path) -> None:
    with serving(tmp_path, trusted_proxies='["127.0.0.2", "10.0.0.0/8"]') as url:
        for client in ("203.0.113.1", "203.0.113.2"):
            statuses = [_send(url, client, sender=_PROXY).status_code for _ in range(_LIMIT + 1)]
            assert statuses == [200] * _LIMIT + [429]
        # What the client itself has put before the address that the proxy saw does not count, nor do further proxies.
        assert _send(url, "203.0.113.9, 203.0.113.1, 10.1.2.3", sender=_PROXY).status_code == 429
    assert set(_addresses(tmp_path)) == {"203.0.113.1", "203.0.113.2"}


def test_a_trusted_proxy_cannot_break_the_log(tmp_path: Path) -> None:
    with serving(tmp_path, trusted_proxies=f'["{_PROXY}"]', log_format="text") as url:
        assert _send(url, "x y token=admin", sender=_PROXY).status_code == 200
    (line,) = [line for line in (tmp_path / "log").read_text().splitlines() if " /models " in line]
    assert ' from="x y token=admin" token=- ' in line
