"""Labels of nodes: they say what hosts accept, stop saying it when it is no longer true, and touch no others."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from logging import INFO
from pathlib import Path
from threading import Event, Thread

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.adapters.accepted import Choice
from app.adapters.kubernetes_api import Cluster, ClusterError
from app.adapters.kubernetes_labels import PREFIX, Labeller, label_of, migration
from app.client import Registry, RegistryError
from app.domain.values.name import is_name
from tests.adapters.conftest import NIC, PROFILE, Trickling, admin, endless
from tests.adapters.kubernetes import INSTALLED, NAMESPACE, VM, Emulator, emulated, faults, node, virtual_machine
from tests.running.conftest import Server, command, environment

LABEL = "device-profile.vendor-a.com/nic-8"
GONE = "device-profile.vendor-a.com/no-longer-published"
# Labels of others, one of which looks like ours.
OTHERS = {"device-profiles.example/x": "true", "feature.node.kubernetes.io/pci": "true", "device-profile": "yes"}
_KEY = re.compile(
    r"(?=.{1,253}/)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)
_SECONDS = 30


# Names of profiles: their letters, their length, and what a shortened one looks like.
_components = st.text(
    st.sampled_from("ab-._~/é ") | st.characters(codec="utf-8"), min_size=1, max_size=80
) | st.from_regex(r"\A(a-)?x[0-9a-f]{32}\Z")
_vendors = st.sampled_from(["a.com", "vendor-a.com", "v" * 60 + "." + "w" * 60 + "." + "x" * 60 + "." + "y" * 56])
_profiles = st.builds(lambda vendor, path: f"{vendor}/{path}"[:255], _vendors, _components).filter(is_name)


@given(st.sets(_profiles, min_size=2, max_size=6))
@example({"a.com/a/b", "a.com/a-b", "a.com/a.b", "a.com/A-b"})
@example({"a.com/é", "a.com/è", "a.com/~"})
def test_each_profile_has_a_label_of_its_own_that_kubernetes_takes(profiles: set[str]) -> None:
    labels = {label_of(profile) for profile in profiles}
    assert len(labels) == len(profiles)
    for label in labels:
        assert label.startswith(PREFIX)
        assert _KEY.fullmatch(label), label
    # What a shortened name becomes is no other name's own label.
    again = {f"{label.removeprefix(PREFIX)}" for label in labels} - profiles
    assert labels.isdisjoint(label_of(name) for name in again if is_name(name))


@pytest.mark.parametrize(
    ("profile", "label"),
    [
        ("qemu.org/pc-q35-7.2", "device-profile.qemu.org/pc-q35-7.2"),
        ("redhat.com/pc-q35-rhel9.2.0", "device-profile.redhat.com/pc-q35-rhel9.2.0"),
        ("a.com/gfx/4g", "device-profile.a.com/gfx-4g-x5751581e39e6abee3295414dadd5a2d4"),
    ],
)
def test_the_label_of_a_profile_is_its_name_where_it_can_be(profile: str, label: str) -> None:
    assert label_of(profile) == label


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize(
    "profile",
    [
        "qemu.org/pc-q35-7.2",
        "a.com/gfx/4g",
        "a.com/~é",
        f"a.com/{'x' * 200}",
        f"{'v' * 60}.{'w' * 60}.{'x' * 60}.{'y' * 56}/p",
    ],
)
def test_the_real_kubectl_takes_the_labels(profile: str) -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {}}

    def selected(label: str) -> "subprocess.CompletedProcess[str]":
        # It parses a selector as the API server parses labels.
        return subprocess.run(
            ["kubectl", "set", "selector", "--local", "--filename", "-", f"{label}=true", "--output", "json"],
            input=json.dumps(service),
            capture_output=True,
            text=True,
            check=False,
        )

    taken = selected(label_of(profile))
    assert json.loads(taken.stdout)["spec"]["selector"] == {label_of(profile): "true"}, taken.stderr
    if label_of(profile) != f"{PREFIX}{profile}":
        assert selected(f"{PREFIX}{profile}").returncode != 0


@pytest.fixture
def nodes() -> Iterator[Emulator]:
    """Yield a cluster with a node for three of the four hosts, and for a host that is not registered."""
    stale = {LABEL: "true", GONE: "true", **OTHERS}
    with emulated(node("old-1", stale), node("new-1", OTHERS), node("new-2", stale), node("other", stale)) as api:
        yield api


def ours(api: Emulator) -> Mapping[str, set[str]]:
    """Return the labels of each node that are ours; all others are as they were."""
    found = api.labels()
    for name, labels in found.items():
        rest = {key: value for key, value in labels.items() if not key.startswith(PREFIX)}
        assert rest == node(name, OTHERS)["metadata"]["labels"]
        assert {value for key, value in labels.items() if key.startswith(PREFIX)} <= {"true"}
    return {name: {key for key in labels if key.startswith(PREFIX)} for name, labels in found.items()}


@contextmanager
def labelling(server: Server, api: Emulator, choice: Choice | None = None) -> Iterator[Labeller]:
    """Yield a labeller of a cluster."""
    registry = Registry(server.url, retry_seconds=0, timeout_seconds=15)
    with registry, closing(Cluster(api.url)) as cluster:
        yield Labeller(registry, cluster, choice)


@INSTALLED
def test_nodes_have_the_labels_of_what_their_hosts_accept(
    fleet: Server, nodes: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    with labelling(fleet, nodes) as labeller, caplog.at_level(INFO):
        changed = labeller.look()
        assert ours(nodes) == {"old-1": set(), "new-1": {LABEL}, "new-2": {LABEL}, "other": set()}
        assert {change.node for change in changed} == {"old-1", "new-1", "new-2", "other"}
        # A second look has nothing to change.
        assert labeller.look() == []
    assert f"new-1: {LABEL} is added: it accepts {PROFILE}" in caplog.messages
    (why,) = [line for line in caplog.messages if line.startswith(f"old-1: {LABEL} is removed: ")]
    assert "num-queues=8" in why
    assert f"other: {LABEL} is removed: no host other is registered" in caplog.messages
    assert any(line.startswith(f"new-2: {GONE} is removed: ") for line in caplog.messages)


@INSTALLED
def test_only_chosen_profiles_have_labels(fleet: Server, nodes: Emulator) -> None:
    with labelling(fleet, nodes, Choice(patterns=["qemu.org/*"])) as labeller:
        labeller.look()
        assert set().union(*ours(nodes).values()) == set()


@INSTALLED
def test_all_labels_can_be_withdrawn(fleet: Server, nodes: Emulator) -> None:
    with labelling(fleet, nodes) as labeller:
        labeller.look()
        assert len(labeller.withdraw("the adapter is removed")) == 2
        assert set().union(*ours(nodes).values()) == set()


@INSTALLED
def test_without_an_answer_of_the_registry_nothing_changes_at_first(own_fleet: Server, nodes: Emulator) -> None:
    with labelling(own_fleet, nodes) as labeller:
        own_fleet.kill()
        before = nodes.labels()
        with pytest.raises(RegistryError):
            labeller.look()
        assert nodes.labels() == before


def test_a_node_that_is_gone_or_refused_does_not_stop_the_others(
    fleet: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    patched: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            items = [node(name) for name in ("new-1", "new-2")]
            # Two pages.
            page = int(request.url.params.get("continue", "0"))
            following = {"continue": "1"} if page == 0 else {}
            return httpx.Response(200, json={"metadata": following, "items": items[page : page + 1]})
        assert request.headers["Content-Type"] == "application/merge-patch+json"
        assert json.loads(request.content) == {"metadata": {"labels": {LABEL: "true"}}}
        patched.append(request.url.path)
        return httpx.Response(statuses.pop(0), json={"kind": "Status", "message": "no"})

    cluster = Cluster("http://api")
    monkeypatch.setattr(cluster._http, "_transport", httpx.MockTransport(answer))
    with Registry(fleet.url) as registry, closing(cluster):
        statuses = [404, 200]
        Labeller(registry, cluster).look()
        statuses = [403, 200]
        with pytest.raises(ClusterError, match=r"the labels of 1 nodes could not be changed: .* 403: no"):
            Labeller(registry, cluster).look()
    assert patched == ["/api/v1/nodes/new-1", "/api/v1/nodes/new-2"] * 2


def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition is met."""
    deadline = time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@INSTALLED
def test_labels_follow_the_registry(own_fleet: Server, nodes: Emulator) -> None:
    stop = Event()
    with labelling(own_fleet, nodes) as labeller, admin(own_fleet) as registry:
        thread = Thread(target=labeller.run, args=(stop,), kwargs={"hold_seconds": 3, "wait_seconds": 1})
        thread.start()
        try:
            until(lambda: ours(nodes)["new-1"] == {LABEL})
            registry.put("/hosts/new-1", {"releases": ["vendor-a.com/fw@1"]})
            until(lambda: ours(nodes)["new-1"] == set())
            registry.put("/hosts/other", {"releases": ["vendor-a.com/fw@2"]})
            until(lambda: ours(nodes)["other"] == {LABEL})
            registry.delete("/hosts/other")
            until(lambda: ours(nodes)["other"] == set())
            registry.patch(f"/profiles/{PROFILE}", {"state": "retired"})
            until(lambda: ours(nodes)["new-2"] == set())
            registry.patch(f"/profiles/{PROFILE}", {"state": "published"})
            until(lambda: ours(nodes)["new-2"] == {LABEL})
            # Unknown never means compatible.
            own_fleet.kill()
            until(lambda: ours(nodes)["new-2"] == set())
            own_fleet.start()
            until(lambda: ours(nodes)["new-2"] == {LABEL})
        finally:
            stop.set()
            thread.join(_SECONDS)
    assert not thread.is_alive()
    # They stay: the adapter is only restarted.
    assert ours(nodes)["new-2"] == {LABEL}


@INSTALLED
def test_an_answer_that_never_ends_keeps_no_label(own_fleet: Server, nodes: Emulator) -> None:
    stop = Event()
    with (
        endless(0.5) as url,
        Trickling(own_fleet.url, url) as registry,
        closing(Cluster(nodes.url)) as cluster,
    ):
        labeller = Labeller(registry, cluster)
        thread = Thread(target=labeller.run, args=(stop,), kwargs={"hold_seconds": 3, "wait_seconds": 1})
        thread.start()
        try:
            until(lambda: ours(nodes)["new-1"] == {LABEL})
            registry.trickles.set()
            began = time.monotonic()
            # A look begins, and does not end.
            looking = Thread(target=fail_to_look, args=(labeller,), daemon=True)
            looking.start()
            until(lambda: set().union(*ours(nodes).values()) == set())
            assert time.monotonic() - began < 3 + 3
            assert looking.is_alive()
        finally:
            stop.set()
            thread.join(5)
    # To stop does not wait for the answer either.
    assert not thread.is_alive()


def fail_to_look(labeller: Labeller) -> None:
    """Look, which fails when the test ends."""
    with suppress(RegistryError, RuntimeError):
        labeller.look()


@INSTALLED
def test_an_answer_that_has_become_too_old_adds_no_label(
    fleet: Server, nodes: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    with labelling(fleet, nodes) as labeller:
        labeller._confirmation.hold_seconds = 1.0
        calls: list[tuple[str, bool]] = []
        write = labeller._cluster.label_node

        def slowly(name: str, labels: Mapping[str, str | None]) -> None:
            calls.append((name, any(labels.values())))
            write(name, labels)
            if any(labels.values()):
                time.sleep(1.1)

        # new-2 needs its label again; others lose theirs.
        labeller._cluster.label_node("new-2", {LABEL: None})
        monkeypatch.setattr(labeller._cluster, "label_node", slowly)
        with pytest.raises(RegistryError, match="the registry's answer is older than 1 seconds"):
            labeller.look()
        # Removals came first.
        assert [is_added for _, is_added in calls] == [False, False, False, True]
        found = ours(nodes)
        assert found["old-1"] | found["other"] == set()
        assert sum(LABEL in labels for labels in found.values()) == 1


def run(server: Server, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command of the adapter."""
    return subprocess.run(
        command("adapter", *arguments),
        env=environment(url=server.url),
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
    )


@INSTALLED
def test_the_command_shows_what_would_change_and_changes_it(fleet: Server, nodes: Emulator) -> None:
    before = nodes.labels()
    shown = run(fleet, "kubernetes-labels", "--api", nodes.url, "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert f"new-1\t{LABEL}\tadded\tit accepts {PROFILE}" in shown.stdout.splitlines()
    assert nodes.labels() == before
    done = run(fleet, "kubernetes-labels", "--api", nodes.url, "--once", "--json")
    changed = {item["node"]: item for item in json.loads(done.stdout)["nodes"]}
    assert changed["new-1"] == {"node": "new-1", "added": {LABEL: PROFILE}, "removed": {}}
    assert set(changed["other"]["removed"]) == {LABEL, GONE}
    assert ours(nodes)["new-1"] == {LABEL}
    assert run(fleet, "kubernetes-labels", "--api", nodes.url, "--once").stdout == "no label has to change\n"
    withdrawn = run(fleet, "kubernetes-labels", "--api", nodes.url, "--withdraw")
    assert withdrawn.returncode == 0, withdrawn.stderr
    assert set().union(*ours(nodes).values()) == set()


def test_without_a_cluster_hosts_stand_for_nodes_and_nothing_can_be_changed(fleet: Server) -> None:
    shown = run(fleet, "kubernetes-labels", "--dry-run", "--json")
    assert json.loads(shown.stdout)["nodes"] == [
        {"node": name, "added": {LABEL: PROFILE}, "removed": {}} for name in ("new-1", "new-2")
    ]
    failed = run(fleet, "kubernetes-labels")
    assert failed.returncode == 2
    assert "name the API server with --api" in failed.stderr


ANNOTATIONS = {"dpr/nic0.model": NIC, "dpr/nic0.profile": PROFILE, "dpr/nic1.model": NIC}


@INSTALLED
def test_a_migration_goes_to_nodes_with_the_labels_of_all_profiles() -> None:
    document, others = migration(virtual_machine(ANNOTATIONS))
    assert document["spec"] == {"vmiName": VM, "addedNodeSelector": {LABEL: "true"}}
    assert document["metadata"]["namespace"] == NAMESPACE
    assert others == ["nic1"]
    assert faults(document) == []
    assert faults({**document, "spec": {**document["spec"], "addedNodeSelectors": {}}}) != []


@INSTALLED
@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_the_real_kubectl_creates_the_migration_that_the_command_prints(fleet: Server, tmp_path: Path) -> None:
    with emulated(virtual_machine(ANNOTATIONS)) as api:
        kubectl = f"kubectl --server {api.url} --namespace {NAMESPACE}"
        adapter = " ".join(command("adapter", "kubernetes-migration"))
        script = f"{kubectl} get vmi {VM} -o json | {adapter} | {kubectl} create --validate=false -o json -f -"
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            env={**environment(url=fleet.url), "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
    assert done.returncode == 0, done.stderr
    assert "no label says which nodes accept nic1" in done.stderr
    assert json.loads(done.stdout)["spec"]["addedNodeSelector"] == {LABEL: "true"}


@pytest.mark.parametrize(
    ("document", "error"),
    [
        ("{", "unexpected end of data"),
        ('{"kind": "List", "items": []}', "it is no VirtualMachineInstance"),
        (json.dumps(virtual_machine({})), "the VM declares no device with a profile"),
        (json.dumps(virtual_machine({"dpr/nic0.model": NIC})), "the VM declares no device with a profile"),
        (json.dumps(virtual_machine({"dpr/nic0.modle": NIC})), 'did you mean "model"?'),
    ],
)
def test_a_vm_about_which_labels_say_nothing_gets_no_migration(
    fleet: Server, tmp_path: Path, document: str, error: str
) -> None:
    file = tmp_path / "vmi.json"
    file.write_text(document)
    done = run(fleet, "kubernetes-migration", str(file))
    assert (done.returncode, done.stdout) == (2, "")
    assert error in done.stderr
