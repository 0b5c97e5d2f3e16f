"""The configurations of nginx and Caddy in deploy pass on streams, large bodies and the client's address."""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.conftest import AUTHORIZATION
from tests.running.conftest import ROOT
from tests.running.test_proxies import serving

_DEPLOY = ROOT / "deploy"
# An address of the loopback network, so that the client is somebody else than the proxy.
_CLIENT = "127.0.0.5"
_READY_SECONDS = 20


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _nginx(folder: Path, upstream: str) -> tuple[list[str], str]:
    """Return the command that starts nginx with the configuration of deploy, on another port, and its address."""
    port = _free_port()
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=registry.example"]
    subprocess.run([*request, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    site = (_DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    for ours, here in {
        "listen 80;": f"listen 127.0.0.1:{_free_port()};",
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "listen [::]:80;": "",
        "listen [::]:443 ssl http2;": "",
        "127.0.0.1:8000;": f"{upstream};",
        "/etc/ssl/registry/fullchain.pem": str(certificate),
        "/etc/ssl/registry/privkey.pem": str(key),
    }.items():
        assert site.count(ours) == 1
        site = site.replace(ours, here)
    folders = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    whole = folder / "nginx.conf"
    # Another user could not write bodies to the folder of the test.
    user = "user root;" if os.geteuid() == 0 else ""
    whole.write_text(
        f"{user} daemon off; pid {folder}/pid; error_log {folder}/errors; events {{}} "
        f"http {{ access_log off; {folders} {site} }}"
    )
    command = ["nginx", "-e", str(folder / "errors"), "-c", str(whole)]
    subprocess.run([*command, "-t"], check=True, capture_output=True)
    return command, f"https://127.0.0.1:{port}"


def _caddy(_folder: Path, _upstream: str) -> tuple[list[str], str]:
    """Return the command that starts Caddy with the configuration of deploy, on another port, and its address.

    Without TLS: for its own certificate it would change what this machine trusts.
    """
    url = f"http://127.0.0.1:{_free_port()}"
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(_DEPLOY / "Caddyfile")], url


@contextmanager
def _proxied(kind: str, folder: Path) -> Iterator[httpx.Client]:
    """Yield a client of a service behind a proxy; it sends from an address of its own."""
    if shutil.which(kind) is None:
        pytest.skip(f"{kind} is not installed")
    limits = {"requests_per_minute": "0", "wrong_tokens_per_minute": "0"}
    with serving(folder, trusted_proxies='["127.0.0.1"]', **limits) as url:
        upstream = url.removeprefix("http://")
        command, address = {"nginx": _nginx, "caddy": _caddy}[kind](folder, upstream)
        variables = {**os.environ, "SITE": address, "UPSTREAM": upstream, "HOME": str(folder)}
        with (folder / "proxy.log").open("wb") as log:
            process = subprocess.Popen(command, env=variables, stdout=log, stderr=log)
        try:
            # The certificate is its own.
            transport = httpx.HTTPTransport(local_address=_CLIENT, verify=False)
            with httpx.Client(base_url=address, transport=transport, headers=AUTHORIZATION) as client:
                _wait(client)
                yield client
        finally:
            process.terminate()
            process.wait(20)


def _wait(client: httpx.Client) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        try:
            if client.get("/readyz").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.05)


@pytest.mark.parametrize("kind", ["nginx", "caddy"])
def test_a_proxy_of_the_guide_passes_on_what_the_service_needs(kind: str, tmp_path: Path) -> None:
    with _proxied(kind, tmp_path) as client:
        # An event arrives while the stream goes on.
        with client.stream("GET", "/changes", headers={"Accept": "text/event-stream"}) as stream:
            lines = stream.iter_lines()
            assert next(lines) == ": the feed of changes"
            client.put("/vendors/vendor-a.com", json={"name": "A"}).raise_for_status()
            assert next(line for line in lines if line.startswith("data: "))
        # A long poll ends with the time that it gives, not with that of the proxy.
        waited = client.get("/changes", params={"after": 1, "wait": 2})
        assert (waited.status_code, waited.json()["items"]) == (200, [])
        # Larger than what nginx takes by itself; the service answers, not the proxy.
        large = client.put("/vendors/vendor-a.com", json={"name": "A", "description": "x" * 2_000_000})
        assert large.headers["content-type"] == "application/problem+json"
        # Metrics are for Prometheus, inside.
        assert client.get("/metrics").status_code == 404
        # A client cannot say that it is somebody else.
        client.get("/models", headers={"X-Forwarded-For": "203.0.113.9"}).raise_for_status()
    lines_of_log = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines() if line.startswith("{")]
    assert {line["address"] for line in lines_of_log if line["path"] == "/models"} == {_CLIENT}
