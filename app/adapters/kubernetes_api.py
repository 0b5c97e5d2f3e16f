"""Kubernetes: the API server of a cluster, and the devices that the annotations of a VM declare.

A module of its own: the labels of nodes need it, and no web server.
"""

import json
import os
import ssl
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import httpx

from app.adapters.devices import DevicesError, read_devices

# Annotations of a VM say what devices it has: the key of an annotation cannot have the colon of dpr:.
PREFIX = "dpr/"
# All devices in one annotation, as POST /compatibility takes them: for names that a key cannot have.
DEVICES = f"{PREFIX}devices"
VIRTUAL_MACHINE = "VirtualMachineInstance"
_VIRTUAL_MACHINE_PATH = "/apis/kubevirt.io/v1/namespaces/{namespace}/virtualmachineinstances/{name}"
_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
# kube-scheduler waits for the extender meanwhile.
API_SECONDS = 5.0
_PAGE = 500
_METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1, application/json"


class ClusterError(Exception):
    """The API server of a cluster cannot be reached, or refused the request; the message says why.

    status: of its response, None without one.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class _Account(httpx.Auth):
    """The token of a service account, which Kubernetes renews in its file every hour."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self._file.read_text(encoding='ascii').strip()}"
        yield request


class Cluster:
    """The API server of a cluster. Every method raises ClusterError. Safe to share between threads."""

    def __init__(self, url: str, account: Path | None = None) -> None:
        """account: the folder with a service account's token and ca.crt; None: neither is needed (kubectl proxy)."""
        try:
            self._http = httpx.Client(
                base_url=url,
                auth=None if account is None else _Account(account / "token"),
                verify=True if account is None else ssl.create_default_context(cafile=account / "ca.crt"),
                timeout=API_SECONDS,
            )
        except (OSError, httpx.InvalidURL) as error:
            message = f"the API server cannot be asked: {error}"
            raise ClusterError(message) from error

    @classmethod
    def of_this_pod(cls) -> Self | None:
        """Return the cluster that this process is a pod of, None outside of one or without a service account."""
        host, port = (os.environ.get(f"KUBERNETES_SERVICE_{name}") for name in ("HOST", "PORT"))
        if not host or not port or not (_ACCOUNT / "token").exists():
            return None
        return cls(f"https://{f'[{host}]' if ':' in host else host}:{port}", _ACCOUNT)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def nodes(self) -> Iterator[Mapping[str, Any]]:
        """Iterate over the metadata of all nodes."""
        parameters: dict[str, str | int] = {"limit": _PAGE}
        while True:
            page = self._json("GET", "/api/v1/nodes", params=parameters, headers={"Accept": _METADATA})
            for node in page["items"]:
                yield node["metadata"]
            if not (following := page.get("metadata", {}).get("continue")):
                return
            parameters["continue"] = following

    def label_node(self, node: str, labels: Mapping[str, str | None]) -> None:
        """Set labels of a node, remove those that are None, and touch nothing else (RFC 7386)."""
        self._json(
            "PATCH",
            f"/api/v1/nodes/{quote(node, safe='')}",
            params={"fieldManager": "profile-registry"},
            content=json.dumps({"metadata": {"labels": labels}}),
            headers={"Content-Type": "application/merge-patch+json"},
        )

    def virtual_machine(self, namespace: str, name: str) -> Mapping[str, Any]:
        """Return a VirtualMachineInstance."""
        path = _VIRTUAL_MACHINE_PATH.format(namespace=quote(namespace, safe=""), name=quote(name, safe=""))
        instance: Mapping[str, Any] = self._json("GET", path)
        return instance

    def _json(self, method: str, path: str, **options: Any) -> Any:
        try:
            response = self._http.request(method, path, **options)
        except (httpx.HTTPError, OSError) as error:
            message = f"the API server cannot be reached: {error}"
            raise ClusterError(message) from error
        try:
            document = response.json()
        except ValueError:
            document = None
        if not isinstance(document, dict) or not response.is_success:
            # A Status says why (https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status).
            reason = document.get("message") if isinstance(document, dict) else None
            message = f"the API server answered {response.status_code}: {reason or 'no reason given'}"
            raise ClusterError(message, response.status_code)
        return document


def declared_devices(annotations: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the devices that annotations declare, as POST /compatibility takes them; none if they declare none.

    dpr/ID.model, dpr/ID.profile and so on (see app.adapters.devices), and dpr/devices: all fields of any devices, as
    JSON. Raises DevicesError, also for a key that is spelt otherwise (DPR/ID.model), or twice in an object of the JSON.
    """
    devices = [*read_devices({key: text for key, text in annotations.items() if key != DEVICES}, PREFIX)]
    if DEVICES in annotations:
        try:
            stated = json.loads(annotations[DEVICES], object_pairs_hook=_object)
        except (TypeError, ValueError) as error:
            message = f"{DEVICES} must be JSON: {error}"
            raise DevicesError(message) from error
        if not isinstance(stated, list) or not stated or not all(isinstance(device, dict) for device in stated):
            message = f'{DEVICES} must be a list of devices, such as [{{"id": "net0", "model": "vendor-a.com/nic"}}]'
            raise DevicesError(message)
        devices += stated
    return devices


def _object(pairs: Sequence[tuple[str, Any]]) -> Mapping[str, Any]:
    """Return an object of JSON; raises ValueError if a key is in it twice, of which json would take the last."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            message = f"the key {key} is given twice"
            raise ValueError(message)
        found[key] = value
    return found
