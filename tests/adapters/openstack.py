"""A real Placement, in a process of its own, and what a scheduler asks it."""

import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from keystoneauth1 import adapter, session, token_endpoint

from app.adapters.placement_api import Placement
from tests.running.conftest import ROOT, TLS

_PYTHON = ROOT / "var" / "openstack-placement" / "bin" / "python"
_READY_SECONDS = 60

needs_placement = pytest.mark.skipif(
    not _PYTHON.exists(), reason="there is no Placement in var/openstack-placement: .ci/openstack-placement installs it"
)


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


_HEADERS = {"X-Auth-Token": "admin", "OpenStack-API-Version": "placement 1.39"}


class PlacementServer:
    """A Placement that can be killed and restarted. As an administrator, and as Nova."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._http = httpx.Client(base_url=self.url, headers=_HEADERS, timeout=60, verify=TLS)

    def start(self) -> None:
        """Start the process and wait until it answers."""
        script = Path(__file__).with_name("placement_server.py")
        with (self._folder / "placement.log").open("ab") as log:
            self._process = subprocess.Popen(
                [_PYTHON, "-P", script, self._folder / "placement.db", str(self._port)], stdout=log, stderr=log
            )
        deadline = time.monotonic() + _READY_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                self._http.get("/")
            except httpx.TransportError:
                time.sleep(0.05)
            else:
                return
        message = (self._folder / "placement.log").read_text(encoding="utf-8")
        raise TimeoutError(message)

    def kill(self) -> None:
        """Kill the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """Kill the process and close the connections."""
        self.kill()
        self._http.close()

    def _do(self, method: str, path: str, document: object = None, **parameters: Any) -> Any:
        response = self._http.request(method, path, json=document, params=parameters)
        assert response.is_success, response.text
        return response.json() if response.content else None

    def add(
        self,
        name: str,
        *,
        parent: str | None = None,
        traits: Sequence[str] = (),
        inventory: Mapping[str, int] | None = None,
    ) -> str:
        """Add a resource provider with an inventory, as a compute service does; return its uuid.

        parent: the uuid of the provider that it is nested in.
        """
        uuid = str(uuid4())
        self._do("POST", "/resource_providers", {"name": name, "uuid": uuid, "parent_provider_uuid": parent})
        inventories = {kind: {"total": total} for kind, total in (inventory or {"VCPU": 8}).items()}
        document = {"resource_provider_generation": 0, "inventories": inventories}
        self._do("PUT", f"/resource_providers/{uuid}/inventories", document)
        self.put_traits(uuid, traits)
        return uuid

    def put_traits(self, uuid: str, traits: Sequence[str]) -> None:
        """Replace the traits of a provider."""
        for trait in traits:
            if trait.startswith("CUSTOM_"):
                self._do("PUT", f"/traits/{trait}")
        generation = self._do("GET", f"/resource_providers/{uuid}")["generation"]
        document = {"resource_provider_generation": generation, "traits": list(traits)}
        self._do("PUT", f"/resource_providers/{uuid}/traits", document)

    def delete(self, uuid: str) -> None:
        """Delete a provider."""
        self._do("DELETE", f"/resource_providers/{uuid}")

    def clear(self) -> None:
        """Delete all providers and all custom traits."""
        providers = self._do("GET", "/resource_providers")["resource_providers"]
        for provider in sorted(providers, key=lambda item: item["uuid"] == item["root_provider_uuid"]):
            self.delete(provider["uuid"])
        for trait in self._do("GET", "/traits", name="startswith:CUSTOM_")["traits"]:
            self._do("DELETE", f"/traits/{trait}")

    def traits(self, uuid: str) -> set[str]:
        """Return the traits of a provider."""
        return set(self._do("GET", f"/resource_providers/{uuid}/traits")["traits"])

    def candidates(self, **query: str) -> set[str]:
        """Return the names of the root providers of all allocation candidates, as Nova's scheduler asks for them.

        query: `required`, and groups such as resources1 and required1; one VCPU of the host is asked for in any case.
        """
        response = self._http.get("/allocation_candidates", params={"resources": "VCPU:1", **query})
        if response.status_code == httpx.codes.BAD_REQUEST and "No such trait" in response.text:
            # Nova takes this as: no host.
            return set()
        assert response.is_success, response.text
        answer = response.json()
        summaries = answer["provider_summaries"]
        names = {item["uuid"]: item["name"] for item in self._do("GET", "/resource_providers")["resource_providers"]}
        allocated = {uuid for request in answer["allocation_requests"] for uuid in request["allocations"]}
        return {names[summaries[uuid]["root_provider_uuid"]] for uuid in allocated}

    def session(self) -> adapter.Adapter:
        """Return what the adapter sends its requests with."""
        auth = token_endpoint.Token(self.url, "admin")
        return adapter.Adapter(session.Session(auth, timeout=20), service_type="placement", default_microversion="1.18")

    def placement(self) -> Placement:
        """Return this Placement as the adapter sees it."""
        return Placement(self.session())

    @property
    def variables(self) -> dict[str, str]:
        """Return the environment variables that name this Placement."""
        return {"OS_AUTH_TYPE": "admin_token", "OS_ENDPOINT": self.url, "OS_TOKEN": "admin"}


@contextmanager
def placement_in(folder: Path) -> Iterator[PlacementServer]:
    """Yield a running Placement with its database in a folder."""
    server = PlacementServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.close()
