"""kube-scheduler's extender: VMs migrate only to nodes that take their devices, and whatever fails chooses no node."""

import json
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from logging import WARNING
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.adapters.asking import Asker
from app.adapters.kubernetes import MAX_SCORE, MIGRATION, Extender
from app.adapters.kubernetes_api import PREFIX, Cluster, ClusterError, declared_devices
from tests.adapters.conftest import NIC, OLD, PROFILE, admin
from tests.adapters.kubernetes import (
    INSTALLED,
    NAMESPACE,
    VM,
    VMI_UID,
    KubeScheduler,
    SchedulingError,
    arguments,
    emulated,
    extending,
    faults,
    free_port,
    node,
    target_pod,
    virtual_machine,
)
from tests.running.conftest import TLS, Server

Ask = Callable[..., Asker]
NODES = ["old-1", "new-2", "old-2"]
# A VM with a card of eight queues, as its annotations declare it.
ANNOTATIONS = {"dpr/nic0.model": NIC, "dpr/nic0.profile": PROFILE}
REASON = f"nic0: num-queues=8 at the source, but {OLD} allows 1-4. (value-not-allowed)"
AWAY = "http://127.0.0.1:1"


def filtered(extender: Extender, pod: Mapping[str, Any], names: list[str] = NODES, *, cached: bool = True) -> Any:
    """Return the ExtenderFilterResult, as it arrives."""
    return json.loads(json.dumps(extender.filter(json.dumps(arguments(pod, names, cached=cached)).encode())))


def refusals(result: Mapping[str, Any]) -> set[str]:
    """Return the reasons of a result that leaves no node."""
    assert result["Error"] == ""
    assert result["NodeNames"] == []
    assert set(result["FailedNodes"]) == set(NODES)
    assert result["FailedAndUnresolvableNodes"] == result["FailedNodes"]
    return set(result["FailedNodes"].values())


@pytest.fixture(scope="module")
def extender_url(fleet: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the URL of an extender in a process of its own."""
    with extending(fleet.url, tmp_path_factory.mktemp("extender")) as extender:
        yield extender.url


@pytest.mark.parametrize("cached", [True, False])
def test_nodes_that_cannot_recreate_the_devices_fail_with_their_reason(extender_url: str, *, cached: bool) -> None:
    answered = KubeScheduler(extender_url, cached).filter(target_pod(ANNOTATIONS), NODES)
    assert answered.feasible == ["new-2"]
    # No pod is evicted from a node that will not take the VM either way.
    assert answered.unresolvable == {"old-1": REASON, "old-2": REASON}
    assert answered.failed == {}


def test_nodes_that_are_left_are_not_altered(ask: Ask, fleet: Server) -> None:
    result = filtered(Extender(ask(fleet.url)), target_pod(ANNOTATIONS), cached=False)
    assert result["Nodes"] == {"metadata": {}, "items": [node("new-2")]}
    assert result["NodeNames"] is None


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize(
    "pod",
    [
        {"metadata": {"name": "web", "namespace": "shop"}},
        {"metadata": {"name": "web", "namespace": "shop", "labels": None, "annotations": ANNOTATIONS}},
        # A VM that starts.
        {"metadata": {"name": "vm", "labels": {"kubevirt.io": "virt-launcher"}, "annotations": ANNOTATIONS}},
        # A VM that declares no devices.
        target_pod({}),
    ],
    ids=["another pod", "another pod with such annotations", "a VM that starts", "a VM without declared devices"],
)
def test_other_pods_pass_without_a_question(ask: Ask, pod: Mapping[str, Any], *, cached: bool) -> None:
    # The registry is away: nobody who asks it gets a node.
    extender = Extender(ask(AWAY))
    result = filtered(extender, pod, cached=cached)
    assert (result["FailedNodes"], result["FailedAndUnresolvableNodes"], result["Error"]) == ({}, {}, "")
    kept = result["NodeNames"] if cached else [item["metadata"]["name"] for item in result["Nodes"]["items"]]
    assert kept == NODES
    scores = extender.prioritize(json.dumps(arguments(pod, NODES, cached=cached)).encode())
    assert scores == [{"Host": name, "Score": 0} for name in NODES]


def test_devices_can_be_declared_as_json(ask: Ask, fleet: Server) -> None:
    extender = Extender(ask(fleet.url))
    device = {"id": "nic0", "model": NIC, "profile": PROFILE}
    assert filtered(extender, target_pod({"dpr/devices": json.dumps([device])}))["NodeNames"] == ["new-2"]
    # Both together: the second device fits everywhere.
    both = {"dpr/devices": json.dumps([device]), "dpr/nic1.model": NIC, "dpr/nic1.values.num-queues": "2"}
    assert [device["id"] for device in declared_devices(both)] == ["nic1", "nic0"]
    assert filtered(extender, target_pod(both))["NodeNames"] == ["new-2"]
    (reason,) = refusals(filtered(extender, target_pod({**ANNOTATIONS, "dpr/devices": json.dumps([device])})))
    assert "nic0" in reason


@pytest.mark.parametrize(
    ("annotations", "reason"),
    [
        ({"dpr/nic0.modle": NIC}, 'dpr/nic0.modle is unknown (did you mean "model"?)'),
        ({"dpr/nic0.profile": PROFILE}, "dpr/nic0.model is missing"),
        ({"dpr/devices": "[{"}, "dpr/devices must be JSON"),
        ({"dpr/devices": "{}"}, "dpr/devices must be a list of devices"),
        ({"dpr/devices": "[]"}, "dpr/devices must be a list of devices"),
        ({"dpr/devices": f'[{{"id": "a", "model": "x", "model": "{NIC}"}}]'}, "the key model is given twice"),
        ({"dpr/devices": f'[{{"model": "{NIC}", "values": {{"q": 1, "q": 2}}}}]'}, "the key q is given twice"),
        ({"DPR/nic0.model": NIC}, "DPR/nic0.model must begin with dpr/"),
        ({"Dpr/devices": "[]"}, "Dpr/devices must begin with dpr/"),
        ({**ANNOTATIONS, "dpr.nic0.model": NIC}, "dpr.nic0.model must begin with dpr/"),
        ({"dpr/devices": '[{"id": "nic0"}]'}, "model"),
        ({"dpr/nic0.model": "vendor-a.com/unheard-of"}, "unknown-model"),
        ({**ANNOTATIONS, "dpr/nic0.profile": "vendor-a.com/unheard-of"}, "unknown-profile"),
        ({**ANNOTATIONS, "dpr/nic0.release": "vendor-a.com/fw@7"}, "unknown-release"),
    ],
)
def test_devices_that_are_unknown_or_cannot_be_read_choose_no_node(
    ask: Ask, fleet: Server, annotations: Mapping[str, str], reason: str
) -> None:
    for found in refusals(filtered(Extender(ask(fleet.url)), target_pod(annotations))):
        assert reason in found


def test_nodes_that_are_not_registered_are_not_chosen(ask: Ask, fleet: Server) -> None:
    result = filtered(Extender(ask(fleet.url)), target_pod(ANNOTATIONS), ["new-2", "gone"])
    assert result["NodeNames"] == ["new-2"]
    assert "unknown-host" in result["FailedNodes"]["gone"]


def test_the_source_is_the_node_that_the_vm_runs_on(ask: Ask, fleet: Server) -> None:
    extender = Extender(ask(fleet.url))
    queues = {"dpr/nic0.model": NIC, "dpr/nic0.values.num-queues": "8"}
    assert filtered(extender, target_pod(queues, "new-1"))["NodeNames"] == ["new-2"]
    # Such a device cannot exist there; and nobody knows this node.
    assert all("source-value-invalid" in why for why in refusals(filtered(extender, target_pod(queues, "old-1"))))
    assert all("unknown-host" in why for why in refusals(filtered(extender, target_pod(queues, "gone"))))


def test_a_pod_that_does_not_state_its_source_chooses_no_node_without_an_account(ask: Ask, fleet: Server) -> None:
    (reason,) = refusals(filtered(Extender(ask(fleet.url)), target_pod(ANNOTATIONS, None)))
    assert reason.startswith("the node that the VM runs on is not known: the pod has no label kubevirt.io/nodeName")


@INSTALLED
@pytest.mark.parametrize(
    ("status", "uid", "left"),
    [
        ({"nodeName": "new-1"}, VMI_UID, ["new-2"]),
        # Between namespaces or clusters, the source is another VirtualMachineInstance.
        ({"migrationState": {"sourceState": {"node": "new-1"}}}, VMI_UID, ["new-2"]),
        ({}, VMI_UID, []),
        ({"nodeName": "new-1"}, "that of another one with this name", []),
    ],
)
def test_the_source_is_read_from_the_vm_if_the_pod_does_not_state_it(
    ask: Ask, fleet: Server, status: Mapping[str, Any], uid: str, left: list[str]
) -> None:
    instance = virtual_machine(ANNOTATIONS, **status)
    instance["metadata"]["uid"] = uid
    with emulated(instance) as api, closing(Cluster(api.url)) as cluster:
        result = filtered(Extender(ask(fleet.url), cluster), target_pod(ANNOTATIONS, None))
    assert result["NodeNames"] == left
    if not left:
        (reason,) = refusals(result)
        assert reason == f"the node that the VM runs on is not known: the VirtualMachineInstance {VM} does not state it"


@INSTALLED
def test_a_vm_that_cannot_be_read_chooses_no_node(ask: Ask, fleet: Server) -> None:
    with ExitStack() as stack:
        with emulated() as api:
            cluster = stack.enter_context(closing(Cluster(api.url)))
            extender = Extender(ask(fleet.url), cluster)
            (reason,) = refusals(filtered(extender, target_pod(ANNOTATIONS, None)))
            assert "the API server answered 404" in reason
            stray = target_pod(ANNOTATIONS, None)
            del stray["metadata"]["ownerReferences"]
            (reason,) = refusals(filtered(extender, stray))
            assert "belongs to no VirtualMachineInstance" in reason
        (reason,) = refusals(filtered(extender, target_pod(ANNOTATIONS, None)))
        assert "the API server cannot be reached" in reason


def test_the_account_of_the_pod_is_used_and_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(403, json={"kind": "Status", "message": "nodes is forbidden"})

    for name, text in (("token", "first\n"), ("ca.crt", Path(httpx.create_ssl_context.__module__).name)):
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.setattr("app.adapters.kubernetes_api._ACCOUNT", tmp_path)
    with pytest.raises(ClusterError, match="the API server cannot be asked"):
        # Not a certificate.
        Cluster.of_this_pod()
    monkeypatch.setattr("ssl.create_default_context", lambda **_: TLS)
    cluster = Cluster.of_this_pod()
    assert cluster is not None
    monkeypatch.setattr(cluster._http, "_transport", httpx.MockTransport(answer))
    for token in ("first", "second"):
        (tmp_path / "token").write_text(token)
        with pytest.raises(ClusterError, match="the API server answered 403: nodes is forbidden"):
            cluster.virtual_machine(NAMESPACE, VM)
    cluster.close()
    assert [request.headers["Authorization"] for request in seen] == ["Bearer first", "Bearer second"]
    path = f"/apis/kubevirt.io/v1/namespaces/{NAMESPACE}/virtualmachineinstances/{VM}"
    assert seen[0].url == f"https://[fd00::1]{path}"


def test_outside_of_a_cluster_there_is_no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert Cluster.of_this_pod() is None
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.setattr("app.adapters.kubernetes_api._ACCOUNT", tmp_path)
    # A pod with automountServiceAccountToken: false.
    assert Cluster.of_this_pod() is None


def test_fewer_warnings_are_better(ask: Ask, own_fleet: Server) -> None:
    with admin(own_fleet) as registry:
        registry.patch("/releases/vendor-a.com/fw@2", {"state": "deprecated"})
        document = {"models": {NIC: {"variables": {"num-queues": _queues("1-8")}}}, "profiles": [PROFILE]}
        registry.put("/releases/vendor-a.com/fw@3", document)
        registry.put("/hosts/newest", {"releases": ["vendor-a.com/fw@3"]})
    pod = target_pod(ANNOTATIONS)
    scores = Extender(ask(own_fleet.url)).prioritize(json.dumps(arguments(pod, ["new-2", "old-1", "newest"])).encode())
    by_name = {score["Host"]: score["Score"] for score in scores}
    assert by_name["newest"] > by_name["new-2"] > by_name["old-1"] == 0
    assert all(0 <= score <= MAX_SCORE for score in by_name.values())


def _queues(values: str) -> Mapping[str, Any]:
    return {"type": "int", "init_value": 4, "off_value": 1, "allowed_values": [values]}


def test_with_the_registry_away_no_node_is_chosen_and_the_log_says_why(
    ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(WARNING):
        (reason,) = refusals(filtered(Extender(ask(AWAY)), target_pod(ANNOTATIONS)))
    assert reason.startswith("the registry gave no answer: http://127.0.0.1:1 cannot be reached")
    (line,) = caplog.messages
    assert line == f"shop/virt-launcher-db-7-x7k2p cannot go to old-1, new-2, old-2: {reason}"


def test_a_registry_that_is_killed_in_the_middle_chooses_no_node_until_it_is_back(
    own_fleet: Server, tmp_path: Path
) -> None:
    with extending(own_fleet.url, tmp_path) as extender:
        scheduler = KubeScheduler(extender.url)
        pod = target_pod(ANNOTATIONS)
        assert scheduler.filter(pod, NODES).feasible == ["new-2"]
        own_fleet.kill()
        for _ in range(2):
            answered = scheduler.filter(pod, NODES)
            assert answered.feasible == []
            assert set(answered.unresolvable) == set(NODES)
            assert scheduler.prioritize(pod, NODES) == dict.fromkeys(NODES, 0)
        # Pods that it is not about go on.
        assert scheduler.filter(target_pod({}), NODES).feasible == NODES
        own_fleet.start()
        assert scheduler.filter(pod, NODES).feasible == ["new-2"]
    log = (tmp_path / "log").read_text()
    assert "cannot go to old-1, old-2: nic0: num-queues=8 at the source" in log
    assert "cannot go to old-1, new-2, old-2: the registry gave no answer" in log
    assert "Traceback" not in log


def test_without_the_extender_kube_scheduler_chooses_no_node() -> None:
    with pytest.raises(SchedulingError):
        KubeScheduler(f"http://127.0.0.1:{free_port()}").filter(target_pod(ANNOTATIONS), NODES)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"{}",
        b'{"Pod": null, "NodeNames": []}',
        b'{"Pod": {}, "NodeNames": null, "Nodes": null}',
        b'{"Pod": {"metadata": {"labels": {"kubevirt.io/migrationJobUID": 7}}}, "NodeNames": ["n"]}',
        b'{"Pod": {}, "NodeNames": [7]}',
        b'{"Pod": {}, "Nodes": {"items": [{"metadata": {}}]}}',
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_a_request_that_cannot_be_read_is_an_error_of_the_result(extender_url: str, body: bytes) -> None:
    response = httpx.post(f"{extender_url}/filter", content=body, verify=TLS)
    assert response.status_code == httpx.codes.OK
    result = response.json()
    assert result.pop("Error").startswith("device-profile extender: ")
    assert set(result.values()) == {None}
    response = httpx.post(f"{extender_url}/prioritize", content=body, verify=TLS)
    assert (response.status_code, response.json()) == (httpx.codes.OK, [])


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("field", ["labels", "annotations"])
def test_a_list_is_not_read_as_labels_or_annotations(ask: Ask, field: str) -> None:
    document: Any = arguments(target_pod(ANNOTATIONS), NODES, cached=True)
    document["Pod"]["metadata"][field] = [{"a": 1, "b": 2}]
    result = Extender(ask(AWAY)).filter(json.dumps(document).encode())
    assert result["Error"]
    assert result["NodeNames"] is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_no_request_raises_or_passes_a_node_unasked(ask: Ask, data: st.DataObject) -> None:
    document: Any = arguments(target_pod(ANNOTATIONS), NODES, cached=data.draw(st.booleans()))
    paths = [
        ("Pod",),
        ("Nodes",),
        ("NodeNames",),
        ("Pod", "metadata"),
        *(("Pod", "metadata", field) for field in ("labels", "annotations", "ownerReferences", "name", "namespace")),
        ("Pod", "metadata", "labels", "kubevirt.io/nodeName"),
        ("Pod", "metadata", "annotations", "dpr/nic0.model"),
        ("Pod", "metadata", "annotations", "dpr/devices"),
    ]
    *path, last = data.draw(st.sampled_from(paths))
    parent = document
    for key in path:
        parent = parent[key]
    parent[last] = data.draw(_JSON)
    result = Extender(ask(AWAY)).filter(json.dumps(document).encode())
    assert set(result) == {"Nodes", "NodeNames", "FailedNodes", "FailedAndUnresolvableNodes", "Error"}
    # What reads the body has found the pod's labels and annotations.
    metadata = {} if result["Error"] else document["Pod"].get("metadata") or {}
    is_migration = (metadata.get("labels") or {}).get(MIGRATION) and any(
        key.startswith(PREFIX) for key in metadata.get("annotations") or {}
    )
    if is_migration:
        assert not result["NodeNames"]
        assert not (result["Nodes"] or {}).get("items")
    assert isinstance(Extender(ask(AWAY)).prioritize(json.dumps(document).encode()), list)


def test_the_extender_stops_at_a_signal(tmp_path: Path) -> None:
    with extending(AWAY, tmp_path) as extender:
        assert httpx.get(f"{extender.url}/filter", verify=TLS).status_code == httpx.codes.METHOD_NOT_ALLOWED
        # After it has answered what it was asked, it ends as the signal says.
        assert extender.stop() == -signal.SIGTERM


@INSTALLED
def test_the_pod_of_the_tests_is_one_by_the_published_schema() -> None:
    assert faults(target_pod(ANNOTATIONS)) == []
    assert faults(virtual_machine(ANNOTATIONS, nodeName="new-1")) == []
    assert faults(node("new-1")) == []
    assert faults({**node("new-1"), "lables": {}}) != []
