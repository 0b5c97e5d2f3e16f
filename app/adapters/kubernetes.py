"""Kubernetes: an extender of kube-scheduler, so that KubeVirt's VMs migrate only to nodes that take their devices."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from logging import getLogger
from typing import Any, Self

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from app.adapters.asking import Asker, Verdicts, by_reason, refused
from app.adapters.devices import DevicesError
from app.adapters.kubernetes_api import VIRTUAL_MACHINE, Cluster, ClusterError, declared_devices

# What KubeVirt labels a migration's target pod with (kubevirt.io/api/core/v1). The pod has the labels and annotations
# of its VirtualMachineInstance, and so the name of the node on which the VM runs.
MIGRATION = "kubevirt.io/migrationJobUID"
_NODE = "kubevirt.io/nodeName"
_VMI_UID = "kubevirt.io/created-by"
# The scale of an extender's scores (k8s.io/kube-scheduler/extender/v1).
MAX_SCORE = 10
# Five thousand nodes with all that they state; with nodeCacheCapable there are only names.
MAX_BODY_BYTES = 256 * 1024 * 1024
_LOG = getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Arguments:
    """ExtenderArgs of k8s.io/kube-scheduler/extender/v1: a pod, and the nodes that it could go to.

    nodes: their names alone with nodeCacheCapable; otherwise the nodes as they are, which go back as they are.
    """

    pod: Mapping[str, Any]
    names: Sequence[str]
    nodes: Mapping[str, Any] | None

    @classmethod
    def read(cls, body: bytes) -> Self:
        """Read the body of a request; raises ValueError."""
        document = json.loads(body)
        message = "the body must be ExtenderArgs: Pod, and Nodes or NodeNames"
        try:
            pod, names, nodes = document["Pod"], document.get("NodeNames"), document.get("Nodes")
            is_named = names is not None
            names = list(names) if is_named else [node["metadata"]["name"] for node in nodes["items"]]
            texts = [*names, *_metadata(pod, "labels").values(), *_metadata(pod, "annotations").values()]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(message) from error
        if not all(isinstance(text, str) for text in texts):
            raise ValueError(message)
        return cls(pod, names, None if is_named else nodes)

    @property
    def pod_name(self) -> str:
        """Return the namespace and the name of the pod."""
        metadata = self.pod.get("metadata", {})
        return f"{metadata.get('namespace')}/{metadata.get('name')}"

    def result(self, failed: Mapping[str, str]) -> Mapping[str, Any]:
        """Return the ExtenderFilterResult: all nodes but those that failed, and why these did.

        They are in both maps: kube-scheduler takes FailedAndUnresolvableNodes first. It would otherwise evict other
        pods from a node, to make room for a VM whose devices that node never takes.
        """
        kept = [name for name in self.names if name not in failed]
        nodes = self.nodes
        if nodes is not None:
            nodes = {**nodes, "items": [node for node in nodes["items"] if node["metadata"]["name"] not in failed]}
        return {
            "Nodes": nodes,
            "NodeNames": kept if nodes is None else None,
            "FailedNodes": failed,
            "FailedAndUnresolvableNodes": failed,
            "Error": "",
        }


def _metadata(resource: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    """Return the labels or annotations of a resource; raises one of several errors if they are none."""
    content = (resource.get("metadata") or {}).get(field) or {}
    if not isinstance(content, dict):
        message = f"{field} must be an object"
        raise TypeError(message)
    return content


class _UnknownSourceError(Exception):
    """Nothing says which node a VM runs on; the message says why."""


class Extender:
    """Decides about target pods of KubeVirt's migrations; all other pods, and VMs without declared devices, pass.

    Whatever goes wrong, no node is chosen. Nothing here raises an exception. Safe to share between threads.
    """

    def __init__(self, asker: Asker, cluster: Cluster | None = None) -> None:
        """cluster: asked for the source node if the pod does not state it, as that of a migration between clusters."""
        self._asker = asker
        self._cluster = cluster

    def filter(self, body: bytes) -> Mapping[str, Any]:
        """Return the ExtenderFilterResult for ExtenderArgs."""
        try:
            arguments = _Arguments.read(body)
            verdicts = self._verdicts(arguments)
            if verdicts is None:
                return arguments.result({})
            for line in by_reason(verdicts):
                _LOG.warning("%s cannot go to %s", arguments.pod_name, line)
            refusals = {name: verdicts[name].reason for name in arguments.names if not verdicts[name].is_allowed}
            return arguments.result(refusals)
        except Exception as error:  # noqa: BLE001 (kube-scheduler tries again later; meanwhile no node is chosen)
            _LOG.warning("no node is chosen: %r", error)
            return {
                "Nodes": None,
                "NodeNames": None,
                "FailedNodes": None,
                "FailedAndUnresolvableNodes": None,
                "Error": f"device-profile extender: {error}",
            }

    def prioritize(self, body: bytes) -> Sequence[Mapping[str, Any]]:
        """Return the HostPriorityList for ExtenderArgs: fewer warnings and unchecked variables are better."""
        try:
            arguments = _Arguments.read(body)
            verdicts = self._verdicts(arguments) or {}
        except Exception as error:  # noqa: BLE001 (kube-scheduler goes on without these scores)
            _LOG.warning("no node has a score: %r", error)
            return []
        return [
            {"Host": name, "Score": max(0, MAX_SCORE - verdict.warnings - verdict.unchecked)}
            if (verdict := verdicts.get(name)) is not None and verdict.is_allowed
            else {"Host": name, "Score": 0}
            for name in arguments.names
        ]

    def _verdicts(self, arguments: _Arguments) -> Verdicts | None:
        """Return a verdict for each node; None if the pod is none that this is about."""
        if not _metadata(arguments.pod, "labels").get(MIGRATION):
            return None
        try:
            devices = declared_devices(_metadata(arguments.pod, "annotations"))
            if not devices:
                return None
            source = self._source(arguments.pod)
        except DevicesError as error:
            return refused(arguments.names, f"the VM's devices cannot be read: {error}")
        except _UnknownSourceError as error:
            return refused(arguments.names, f"the node that the VM runs on is not known: {error}")
        return self._asker.about({"host": source, "devices": devices}, arguments.names)

    def _source(self, pod: Mapping[str, Any]) -> str:
        """Return the node that the VM of a target pod runs on; raises _UnknownSourceError."""
        labels = _metadata(pod, "labels")
        if source := labels.get(_NODE):
            return str(source)
        if self._cluster is None:
            message = f"the pod has no label {_NODE}, and this process has no account to read the VM with"
            raise _UnknownSourceError(message)
        metadata = pod["metadata"]
        owners = [owner for owner in metadata.get("ownerReferences") or [] if owner.get("kind") == VIRTUAL_MACHINE]
        if not owners:
            message = f"the pod has no label {_NODE}, and belongs to no {VIRTUAL_MACHINE}"
            raise _UnknownSourceError(message)
        try:
            instance = self._cluster.virtual_machine(metadata["namespace"], owners[0]["name"])
        except ClusterError as error:
            raise _UnknownSourceError(str(error)) from error
        status = instance.get("status") or {}
        # Where the source is another VirtualMachineInstance, it is in the migration's state.
        state = (status.get("migrationState") or {}).get("sourceState") or {}
        source = status.get("nodeName") or state.get("node")
        if not source or instance.get("metadata", {}).get("uid") != labels.get(_VMI_UID):
            message = f"the {VIRTUAL_MACHINE} {owners[0]['name']} does not state it"
            raise _UnknownSourceError(message)
        return str(source)


async def _body(request: Request) -> bytes:
    """Return the body of a request, its beginning if it is larger than MAX_BODY_BYTES."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        chunks.append(chunk)
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            break
    return b"".join(chunks)


def application(extender: Extender) -> Starlette:
    """Return the HTTP application: POST /filter and /prioritize for kube-scheduler, GET /healthz for a probe."""

    async def answer(request: Request) -> Response:
        decide = extender.filter if request.url.path.endswith("/filter") else extender.prioritize
        try:
            body = await _body(request)
        except ClientDisconnect:
            # Nobody waits for the answer any more.
            return Response(status_code=httpx.codes.BAD_REQUEST)
        content = await run_in_threadpool(lambda: json.dumps(decide(body)))
        return Response(content, media_type="application/json")

    async def healthz(_request: Request) -> Response:
        return PlainTextResponse("ok\n")

    return Starlette(
        routes=[
            Route("/filter", answer, methods=["POST"]),
            Route("/prioritize", answer, methods=["POST"]),
            Route("/healthz", healthz),
        ]
    )


def serve(extender: Extender, host: str, port: int) -> None:
    """Answer kube-scheduler until a signal stops it."""
    _LOG.info("answering kube-scheduler on %s, port %d", host, port)
    uvicorn.run(
        application(extender),
        host=host,
        port=port,
        access_log=False,
        log_level="warning",
        server_header=False,
        ws="none",
    )
