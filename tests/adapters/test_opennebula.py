"""OpenNebula's two protocols, in the forms that its documentation states; no OpenNebula was run."""

import base64
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from defusedxml.ElementTree import fromstring

from app.adapters.asking import Asker, Verdicts
from app.adapters.opennebula import DocumentError, ExternalScheduler, host_names, narrowed
from app.client import Registry, RegistryError
from tests.adapters.conftest import NEW, NIC, OLD, PROFILE, admin, fleet_in
from tests.running.conftest import ROOT, TLS, Server, command, environment

_DPR = f"dpr:nic0.model={NIC} dpr:nic0.profile={PROFILE}"
# The request of the documentation of 6.10, with what VM_ATTRIBUTE = "/VM/USER_TEMPLATE/DPR" adds to it.
REQUEST: Mapping[str, Any] = {
    "VMS": [
        {
            "VM_ATTRIBUTES": {"GNAME": "oneadmin", "UNAME": "oneadmin", "DPR": _DPR},
            "CAPACITY": {"CPU": 1.5, "DISK_SIZE": 1024, "MEMORY": 131072},
            "HOST_IDS": [3, 4, 5],
            "ID": 32,
            "STATE": "PENDING",
        },
        {
            "VM_ATTRIBUTES": {"GNAME": "users", "UNAME": "userA"},
            "CAPACITY": {"CPU": 1.5, "DISK_SIZE": 1024, "MEMORY": 131072},
            "HOST_IDS": [3, 4, 5],
            "ID": 33,
            "STATE": "PENDING",
        },
        {
            "VM_ATTRIBUTES": {"GNAME": "users", "UNAME": "userA", "DPR": _DPR},
            "CAPACITY": {"CPU": 1.5, "DISK_SIZE": 1024, "MEMORY": 131072},
            "HOST_IDS": [3, 5],
            "HOST_ID": 4,
            "ID": 34,
            "STATE": "RUNNING",
        },
    ]
}
_IDS = {3: "old-1", 4: "new-1", 5: "new-2"}


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield a running registry whose hosts say their ids in OpenNebula."""
    with fleet_in(tmp_path_factory.mktemp("fleet")) as server:
        with admin(server) as registry:
            for identifier, host in _IDS.items():
                release = OLD if host == "old-1" else NEW
                registry.put(f"/hosts/{host}", {"releases": [release], "labels": {"opennebula": str(identifier)}})
        yield server


@pytest.fixture
def scheduler(fleet: Server, ask: Callable[..., Asker]) -> ExternalScheduler:
    """Return an external scheduler that knows the names of the hosts."""
    return ExternalScheduler(ask(fleet.url), lambda: _IDS)


def request(**changes: Any) -> Mapping[str, Any]:
    """Return a request about the first VM of the documentation, with changes."""
    return {"VMS": [{**REQUEST["VMS"][0], **changes}]}


def test_each_vm_gets_a_host_that_can_re_create_its_devices(
    scheduler: ExternalScheduler, caplog: pytest.LogCaptureFixture
) -> None:
    assert scheduler.answer(REQUEST) == {
        "VMS": [{"ID": 32, "HOST_ID": 4}, {"ID": 33, "HOST_ID": 3}, {"ID": 34, "HOST_ID": 5}]
    }
    refusals = [message for message in caplog.messages if message.startswith("VM 32")]
    assert len(refusals) == 1
    assert refusals[0].startswith("VM 32: not on host 3 (old-1): nic0: ")
    assert refusals[0].endswith("(value-not-allowed)")


def test_a_vm_that_no_host_takes_is_not_in_the_answer(
    scheduler: ExternalScheduler, caplog: pytest.LogCaptureFixture
) -> None:
    assert scheduler.answer(request(HOST_IDS=[3])) == {"VMS": []}
    assert caplog.messages[-1] == "VM 32: no host"
    assert scheduler.answer(request(HOST_IDS=[])) == {"VMS": []}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"HOST_IDS": [9]}, "no registered host, or more than one, has the label opennebula with its id"),
        ({"HOST_ID": 9, "STATE": "RUNNING"}, "the VM runs on host 9: no registered host"),
        ({"VM_ATTRIBUTES": {"DPR": "nic0"}}, "the VM's devices cannot be read: nic0 must be dpr:ID.model"),
        ({"VM_ATTRIBUTES": {"DPR": "dpr:nic0.modl=x"}}, "the VM's devices cannot be read: dpr:nic0.modl is unknown"),
        ({"VM_ATTRIBUTES": {"DPR": "dpr:nic0.model=un.known/nic"}}, "nic0: "),
        ({"ATTRIBUTES": {"DPR": "dpr:nic0.model=un.known/nic"}, "VM_ATTRIBUTES": {}}, "nic0: "),
    ],
)
def test_what_is_not_known_gets_no_host(
    scheduler: ExternalScheduler, caplog: pytest.LogCaptureFixture, changes: Mapping[str, Any], reason: str
) -> None:
    assert scheduler.answer(request(**changes)) == {"VMS": []}
    assert any(reason in message for message in caplog.messages), caplog.messages


def test_a_source_below_zero_is_none(scheduler: ExternalScheduler) -> None:
    assert scheduler.answer(request(HOST_ID=-1)) == {"VMS": [{"ID": 32, "HOST_ID": 4}]}


def test_vms_are_spread(scheduler: ExternalScheduler) -> None:
    vms = [{"ID": number, "HOST_IDS": [3, 4, 5], "VM_ATTRIBUTES": {"DPR": _DPR}} for number in range(4)]
    assert [vm["HOST_ID"] for vm in scheduler.answer({"VMS": vms})["VMS"]] == [4, 5, 4, 5]


def test_with_the_registry_away_only_what_nothing_describes_gets_a_host(
    ask: Callable[..., Asker], caplog: pytest.LogCaptureFixture
) -> None:
    def away() -> Mapping[int, str]:
        message = "cannot be reached"
        raise RegistryError(message)

    for names in (away, lambda: _IDS):
        scheduler = ExternalScheduler(ask("http://127.0.0.1:1"), names)
        assert scheduler.answer(REQUEST) == {"VMS": [{"ID": 33, "HOST_ID": 3}]}
        assert "the registry gave no answer" in caplog.text
        caplog.clear()


def test_vms_that_are_left_when_the_time_is_over_get_no_host(
    fleet: Server, ask: Callable[..., Asker], caplog: pytest.LogCaptureFixture
) -> None:
    scheduler = ExternalScheduler(ask(fleet.url), lambda: _IDS, seconds=-1)
    assert scheduler.answer(REQUEST) == {"VMS": [{"ID": 33, "HOST_ID": 3}]}
    assert "no time was left to ask the registry" in caplog.text
    lines: list[str] = []
    assert left(narrowed(_ACTION.encode(), ask(fleet.url), lines.append, seconds=-1)) == {0: [4], 1: [], 2: [3, 4]}


def test_vms_of_one_template_share_a_question(fleet: Server, ask: Callable[..., Asker]) -> None:
    asker, asked = ask(fleet.url), list[object]()
    about = asker.about

    def count(vm: Mapping[str, Any], hosts: Sequence[str]) -> Verdicts:
        asked.append(vm)
        return about(vm, hosts)

    asker.about = count  # type: ignore[method-assign]
    vms = [{"ID": number, "HOST_IDS": [3, 4], "VM_ATTRIBUTES": {"DPR": _DPR}} for number in range(5)]
    answer = ExternalScheduler(asker, lambda: _IDS).answer({"VMS": [*vms, {**vms[0], "ID": 9, "HOST_ID": 5}]})
    assert [vm["HOST_ID"] for vm in answer["VMS"]] == [4] * 6
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (None, "VMS must be a list of VMs"),
        ({"VMS": {}}, "VMS must be a list of VMs"),
        ({"VMS": [{"ID": "1"}]}, "VMS/0/ID must be an integer"),
        ({"VMS": [{"ID": True}]}, "VMS/0/ID must be an integer"),
        ({"VMS": [{"ID": 1, "HOST_IDS": ["3"]}]}, "VMS/0/HOST_IDS must be a list of integers"),
        ({"VMS": [{"ID": 1, "HOST_IDS": [3], "HOST_ID": "3"}]}, "VMS/0/HOST_ID must be an integer"),
        ({"VMS": [{"ID": 1, "VM_ATTRIBUTES": {"DPR": 1}}]}, "VMS/0/VM_ATTRIBUTES/DPR must be a string"),
        ({"VMS": [{"ID": 1, "VM_ATTRIBUTES": [1]}]}, "VMS/0/VM_ATTRIBUTES/DPR must be a string"),
    ],
)
def test_another_request_is_a_fault(scheduler: ExternalScheduler, document: object, message: str) -> None:
    with pytest.raises(DocumentError, match=message):
        scheduler.answer(document)


def test_hosts_say_their_ids(own_fleet: Server) -> None:
    labels = {"old-1": "3", "old-2": "x", "new-1": "4", "new-2": "4"}
    with admin(own_fleet) as api:
        for host, identifier in labels.items():
            api.put(f"/hosts/{host}", {"releases": [OLD], "labels": {"opennebula": identifier}})
    with Registry(own_fleet.url) as registry:
        # Two hosts with one id: neither is meant.
        assert host_names(registry) == {3: "old-1"}


@contextmanager
def serving(server: Server, *options: str) -> Iterator[str]:
    """Run the external scheduler meanwhile; yields its address."""
    process = subprocess.Popen(
        command("adapter", "opennebula", "--port", "0", *options),
        cwd=ROOT,
        env=environment(url=server.url, adapter_ask_seconds="3"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout:
        try:
            yield process.stdout.readline().removeprefix("listening on ").strip()
        finally:
            process.terminate()
            assert process.wait(20) == 0


def test_the_command_answers_as_an_external_scheduler(own_fleet: Server) -> None:
    with admin(own_fleet) as api:
        for identifier, host in _IDS.items():
            release = OLD if host == "old-1" else NEW
            api.put(f"/hosts/{host}", {"releases": [release], "labels": {"one": str(identifier)}})
    with serving(own_fleet, "--label", "one") as url:
        answer = httpx.post(url, json=REQUEST, verify=TLS)
        assert answer.status_code == httpx.codes.OK
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.json() == {"VMS": [{"ID": 32, "HOST_ID": 4}, {"ID": 33, "HOST_ID": 3}, {"ID": 34, "HOST_ID": 5}]}
        for body in (b"{", b"[]", b"\xff"):
            assert httpx.post(url, content=body, verify=TLS).status_code == httpx.codes.BAD_REQUEST
        # The registry is killed in the middle.
        own_fleet.kill()
        assert httpx.post(url, json=REQUEST, verify=TLS, timeout=30).json() == {"VMS": [{"ID": 33, "HOST_ID": 3}]}


# The scheduler driver, from 7.0 on. The document of the documentation, cut to what is read, with described VMs.
_ACTION = f"""<?xml version="1.0"?>
<SCHEDULER_DRIVER_ACTION>
  <VM_POOL>
    <VM>
      <ID>0</ID><NAME>testvm-0</NAME><STATE>3</STATE><LCM_STATE>3</LCM_STATE><RESCHED>1</RESCHED>
      <TEMPLATE><CPU><![CDATA[0.1]]></CPU><MEMORY><![CDATA[128]]></MEMORY><VMID><![CDATA[0]]></VMID></TEMPLATE>
      <USER_TEMPLATE><DPR><![CDATA[{_DPR}]]></DPR></USER_TEMPLATE>
    </VM>
    <VM><ID>1</ID><NAME>testvm-1</NAME><STATE>1</STATE>
      <USER_TEMPLATE><DPR><![CDATA[{_DPR}]]></DPR></USER_TEMPLATE></VM>
    <VM><ID>2</ID><NAME>testvm-2</NAME><STATE>1</STATE><USER_TEMPLATE/></VM>
  </VM_POOL>
  <HOST_POOL>
    <HOST><ID>3</ID><NAME>old-1</NAME><VMS/></HOST>
    <HOST><ID>4</ID><NAME>new-1</NAME><VMS><ID>0</ID></VMS></HOST>
    <HOST><ID>5</ID><NAME>new-2</NAME><VMS/></HOST>
    <HOST><ID>6</ID><NAME>unregistered</NAME><VMS/></HOST>
  </HOST_POOL>
  <VNET_POOL/>
  <REQUIREMENTS>
    <VM><ID>0</ID><HOSTS><ID>3</ID><ID>4</ID><ID>5</ID></HOSTS><DATASTORES><ID>100</ID></DATASTORES></VM>
    <VM><ID>1</ID><HOSTS><ID>3</ID><ID>6</ID></HOSTS></VM>
    <VM><ID>2</ID><HOSTS><ID>3</ID><ID>4</ID></HOSTS></VM>
  </REQUIREMENTS>
</SCHEDULER_DRIVER_ACTION>
"""


def left(document: bytes) -> Mapping[int, list[int]]:
    """Return the hosts that a document leaves to each VM."""
    return {
        int(vm.findtext("ID") or ""): [int(host.text or "") for host in vm.findall("HOSTS/ID")]
        for vm in fromstring(document).findall("REQUIREMENTS/VM")
    }


@pytest.mark.parametrize("is_plain", [True, False])
def test_a_driver_leaves_the_hosts_that_a_vm_can_use(
    fleet: Server, ask: Callable[..., Asker], *, is_plain: bool
) -> None:
    document = _ACTION.encode()
    lines: list[str] = []
    narrow = narrowed(document if is_plain else base64.b64encode(document), ask(fleet.url), lines.append)
    narrow = narrow if is_plain else base64.b64decode(narrow, validate=True)
    # To stay where it is, on host 4, is no migration.
    assert left(narrow) == {0: [4, 5], 1: [], 2: [3, 4]}
    assert fromstring(narrow).findtext("REQUIREMENTS/VM/DATASTORES/ID") == "100"
    assert lines[0].startswith("WARNING: 0 not on host 3 (old-1): nic0: ")
    assert any(line.startswith("WARNING: 1 not on host 6 (unregistered): ") for line in lines)


def test_a_driver_with_the_registry_away_leaves_only_where_a_vm_is(ask: Callable[..., Asker]) -> None:
    lines: list[str] = []
    assert left(narrowed(_ACTION.encode(), ask("http://127.0.0.1:1"), lines.append)) == {0: [4], 1: [], 2: [3, 4]}
    assert all("the registry gave no answer" in line for line in lines)


@pytest.mark.parametrize(
    "described",
    [
        f"<DPR/><DPR>{_DPR}</DPR>",
        f"<DPR>{_DPR}</DPR><DPR>dpr:nic1.model={NIC}</DPR>",
        f"<DPR><MODEL>{NIC}</MODEL></DPR>",
    ],
)
def test_a_driver_leaves_no_other_host_to_a_vm_without_exactly_one_text_in_dpr(
    fleet: Server, ask: Callable[..., Asker], described: str
) -> None:
    document = _ACTION.replace(f"<DPR><![CDATA[{_DPR}]]></DPR>", described)
    lines: list[str] = []
    assert left(narrowed(document.encode(), ask(fleet.url), lines.append)) == {0: [4], 1: [], 2: [3, 4]}
    assert all("the VM's devices cannot be read: USER_TEMPLATE must have one DPR" in line for line in lines[:1])
    assert lines


def test_a_driver_leaves_no_host_to_a_running_vm_that_no_host_has(fleet: Server, ask: Callable[..., Asker]) -> None:
    document = _ACTION.replace("<VMS><ID>0</ID></VMS>", "<VMS/>")
    lines: list[str] = []
    assert left(narrowed(document.encode(), ask(fleet.url), lines.append)) == {0: [], 1: [], 2: [3, 4]}
    assert "the VM runs, and no host in HOST_POOL has it" in lines[0]
    # Nothing describes the devices of this one.
    document = document.replace("<ID>2</ID><NAME>testvm-2</NAME><STATE>1<", "<ID>2</ID><NAME>testvm-2</NAME><STATE>3<")
    assert left(narrowed(document.encode(), ask(fleet.url), lines.append))[2] == [3, 4]


def test_a_driver_removes_each_mention_of_a_host(fleet: Server, ask: Callable[..., Asker]) -> None:
    document = _ACTION.replace("<HOSTS><ID>3</ID><ID>4</ID><ID>5</ID>", "<HOSTS><ID>3</ID><ID>4</ID><ID>3</ID>")
    assert left(narrowed(document.encode(), ask(fleet.url), lambda _: None))[0] == [4]


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"!",
        b"<PLAN/>",
        b"<SCHEDULER_DRIVER_ACTION>",
        _ACTION.replace("<ID>0</ID><HOSTS>", "<ID>x</ID><HOSTS>").encode(),
        _ACTION.replace("<ID>0</ID><HOSTS>", "<ID>9</ID><HOSTS>").encode(),
        b'<!DOCTYPE a [<!ENTITY b "c">]><SCHEDULER_DRIVER_ACTION>&b;</SCHEDULER_DRIVER_ACTION>',
    ],
)
def test_another_document_is_a_fault(document: bytes) -> None:
    with pytest.raises(DocumentError):
        narrowed(document, Asker("http://127.0.0.1:1"), lambda _: None)


def test_the_command_runs_the_next_driver_with_what_it_leaves(fleet: Server, tmp_path: Path) -> None:
    driver, given = tmp_path / "optimize", tmp_path / "given"
    driver.write_text(f'#!/bin/sh\ncat >"{given}"\necho "<PLAN><ID>$1</ID></PLAN>"\nexit 7\n')
    driver.chmod(0o755)
    called = command("adapter", "opennebula", "--driver", str(driver), "100")

    def run(document: bytes) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            called, cwd=ROOT, env=environment(url=fleet.url), input=document, capture_output=True, check=False
        )

    ended = run(_ACTION.encode())
    assert (ended.returncode, ended.stdout) == (7, b"<PLAN><ID>100</ID></PLAN>\n")
    assert left(given.read_bytes()) == {0: [4, 5], 1: [], 2: [3, 4]}
    assert ended.stderr.startswith(b"WARNING: 0 not on host 3 (old-1): nic0: ")
    given.unlink()
    ended = run(b"<nonsense")
    assert (ended.returncode, ended.stdout, given.exists()) == (1, b"", False)
    assert ended.stderr.startswith(b"ERROR: no VM is placed: ")


@pytest.mark.parametrize(("action", "own", "following"), [("place", "", "rank"), ("optimize", "OPTIMIZE=mine", "mine")])
def test_the_driver_of_deploy_runs_the_next_one(
    fleet: Server, tmp_path: Path, action: str, own: str, following: str
) -> None:
    program, settings = tmp_path / "profile-registry", tmp_path / "hook.env"
    program.write_text(f'#!/bin/sh\ncd {ROOT} && exec {sys.executable} -m app.cli "$@"\n')
    settings.write_text(f"REGISTRY_URL={fleet.url}\n{own}\n")
    script = (ROOT / "deploy" / "opennebula" / "place").read_text(encoding="utf-8")
    files = {
        f"scheduler/profiles/{action}": script.replace("/usr/local/bin/profile-registry", str(program)).replace(
            "/etc/profile-registry/hook.env", str(settings)
        ),
        f"scheduler/{following}/{action}": '#!/bin/sh\necho "given $@"\ncat\n',
        "profile-registry": program.read_text(encoding="utf-8"),
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    ended = subprocess.run(
        [tmp_path / "scheduler" / "profiles" / action, "100"],
        env=environment(),
        input=_ACTION.encode(),
        capture_output=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    first, _, document = ended.stdout.partition(b"\n")
    assert first == b"given 100"
    assert left(document) == {0: [4, 5], 1: [], 2: [3, 4]}
