"""drain: a host of the sample data is emptied, by files and by what runs there; what would help is confirmed."""

import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.cli.client import Registry, RegistryError
from app.cli.demonstration import publish_sample
from app.cli.drain import rooms
from tests.api.serving import served
from tests.cli.conftest import RELEASE, Run, Save, client_of, moves, planned
from tests.cli.test_terminal import run_as_program
from tests.conftest import TOKEN, shared_registry

DPU, VGPU = "acme.example/dpu-net", "pixel.example/vgpu"


def _fill(registry: TestClient) -> None:
    with client_of(registry) as client:
        publish_sample(client)


sample = shared_registry(_fill)


@pytest.fixture
def service(sample: TestClient) -> TestClient:
    """Return the service with the sample data."""
    return sample


def domain(name: str, devices: str, machine: str = "pc-q35-7.2") -> str:
    return (
        f"<domain type='kvm'><name>{name}</name><os><type arch='x86_64' machine='{machine}'>hvm</type></os>"
        f"<devices>{devices}<memballoon model='none'/></devices></domain>"
    )


NET = (
    "<interface type='bridge'><mac address='52:54:00:00:00:01'/><model type='virtio'/><alias name='net0'/></interface>"
)
VDPA = "<interface type='vdpa'><source dev='/dev/vhost-vdpa-0'/><model type='virtio'/><alias name='net0'/></interface>"
GPU = "<hostdev mode='subsystem' type='mdev' model='vfio-pci'><alias name='gpu0'/></hostdev>"
# What libvirt's XML does not say of the devices behind QEMU's.
BEHIND = (
    *("--device", f"net0-backend={DPU}", "--profile", "net0-backend=acme.example/dpu-net-2024"),
    *("--device", "gpu0=qemu.org/vfio-pci", "--device", f"gpu0-device={VGPU}"),
    *("--source", "gpu0-device=pixel.example/gfx/gfx-4g@535.1"),
)


def gpu_vm(name: str, *sizes: str) -> dict[str, Any]:
    devices = [
        {"id": f"gpu{number}", "model": VGPU, "release": f"pixel.example/gfx/gfx-{size}@535.1"}
        for number, size in enumerate(sizes)
    ]
    return {"id": name, "host": "host-02", "devices": devices}


def test_a_host_is_emptied_scarce_vms_first_and_its_own_host_takes_none(run: Run, save: Save) -> None:
    files = [
        save("vms.xml", domain("web", NET) + domain("lb", NET + VDPA.replace("net0", "net1"))),
        save("gpu.xml", domain("ai", VDPA + GPU)),
    ]
    behind = ("--device", f"net1-backend={DPU}", "--profile", "net1-backend=acme.example/dpu-net-2024", *BEHIND)
    options = ("--source-host", "host-02", "--label", "rack=r1", *behind)
    answer = planned(run, *files, *options)
    assert answer["order"] == ["ai", "lb", "web"]
    assert [vm["vm"] for vm in answer["vms"]] == answer["order"]
    assert (answer["left_out"], answer["question_count"]) == (["host-02"], 1)
    vms = {vm["vm"]: vm for vm in answer["vms"]}
    # Nine of the ten hosts of the rack are left; two have both a card with firmware 2.0 and a GPU.
    assert [(vms[name]["possible_count"], vms[name]["impossible_count"]) for name in ("ai", "web")] == [(2, 7), (9, 0)]
    assert moves(answer)["ai"] == {
        "host": "host-08",
        "kinds": [kind["kind"] for kind in vms["ai"]["kinds"] if kind["examples"] == ["host-08"]],
        "units": ["pci/0000:4b:00.2", "0000:41:00.0/gfx-4g"],
        "room_stated": True,
        "others": ["host-04"],
    }
    # Nothing of it is made from a unit, so that it takes no place anywhere.
    assert (moves(answer)["web"]["host"], len(moves(answer)["web"]["kinds"])) == (None, 6)
    assert "host-02" not in str([vm["kinds"] for vm in answer["vms"]])


def test_the_plan_uses_no_more_room_than_hosts_report_and_room_is_no_verdict(
    run: Run, save: Save, service: TestClient
) -> None:
    vms = [gpu_vm(f"vm-{number:02}", *(["4g", "8g"] if number % 3 else ["4g"])) for number in range(20)]
    answer = planned(run, save("vms.json", {"vms": vms}), "--label", "rack=r1")
    # Four hosts of the rack have room for four devices of 4 GB each.
    assert (len(answer["order"]), len(answer["without_room"]), answer["most_leave"]) == (16, 4, True)
    assert [vm["vm"] for vm in answer["vms"]][:4] == answer["without_room"]
    assert all(vm["compatible"] for vm in answer["vms"])
    taken = Counter((move["host"], unit) for move in moves(answer).values() for unit in move["units"])
    for (host, unit), count in taken.items():
        units = {own["id"]: own["available"] for own in service.get(f"/hosts/{host}").json()["units"]}
        assert count <= units[unit]
    shown = run("drain", save("same.json", {"vms": vms}), "--label", "rack=r1")
    assert shown.exit_code == 0
    assert shown.stdout.splitlines()[0] == "16 of 20 VMs can leave, in this order; 4 find no room."
    assert "no room left" in shown.stdout


def test_what_would_help_is_asked_only_about_vms_that_are_stuck(
    run: Run, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [save("new.xml", domain("new", NET, "pc-q35-10.0")), save("web.xml", domain("web", NET))]
    asked: list[list[Any]] = []
    post = Registry.post

    def count(registry: Registry, path: str, document: Any, **parameters: Any) -> Any:
        asked.append([vm["id"] for vm in document.get("vms", ())])
        return post(registry, path, document, **parameters)

    monkeypatch.setattr(Registry, "post", count)
    options = ("--source-host", "host-11", "--label", "rack=r4", "--label", "gpu=no")
    answer = planned(run, *files, *options, status=1)
    assert answer["stuck"] == ["new"]
    assert answer["order"] == ["web"]
    new = answer["vms"][0]
    assert (new["vm"], new["move"], new["turn"], new["possible_count"]) == ("new", None, None, 0)
    assert {reason["code"] for reason in new["reasons"]} >= {"variable-not-supported"}
    helps = {(entry["change"], str(entry.get("without", entry.get("to")))): entry for entry in new["help"]}
    assert set(helps) == {("labels", "['rack=r4']"), ("profile", "qemu.org/pc-q35-7.2")}
    assert helps["profile", "qemu.org/pc-q35-7.2"]["from"] == "qemu.org/pc-q35-10.0"
    assert helps["profile", "qemu.org/pc-q35-7.2"]["possible_count"] == 5
    # Of the hosts without GPU, nine in the first two racks are left; the kernels of the third cannot segment UDP.
    assert helps["labels", "['rack=r4']"]["possible_count"] == 9
    # The drain, and the units that VMs need where they can go; then only the one that is stuck.
    assert [ids for ids in asked if "web" in ids] == [["new", "web"], ["web"]]
    assert len(asked) > 2
    text = run("drain", *files, *options).stdout
    assert "new: what would help: without --label rack=r4, it can go to 9 hosts such as" in text
    assert "new: what would help: created anew with qemu.org/pc-q35-7.2 in place of qemu.org/pc-q35-10.0" in text


def test_of_very_many_hosts_only_as_many_are_read_as_have_room(
    run: Run, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rooms, "PAGE", 1)
    (move,) = moves(planned(run, save("vm.json", [gpu_vm("vm", "4g")]), "--label", "gpu=yes")).values()
    assert move["host"]
    assert ", and others" in run("drain", save("vm.json", [gpu_vm("vm", "4g")]), "--label", "gpu=yes").stdout


def test_more_vms_than_one_question_takes_are_asked_about_in_several_and_that_is_said(run: Run, save: Save) -> None:
    device = {"model": DPU, "release": "acme.example/dpu@2.0"}
    vms = [{"id": f"vm-{number}", "devices": [device] * 300} for number in range(4)]
    ended = run("drain", save("vms.json", vms), "--label", "rack=r1", "--json")
    answer = json.loads(ended.stdout)
    assert (answer["question_count"], len(answer["vms"])) == (2, 4)
    assert "asked in 2 questions, because one would exceed the registry's limits" in ended.stderr
    # No host has 300 places.
    assert sorted(answer["without_room"]) == [f"vm-{number}" for number in range(4)]


def test_a_question_that_is_too_large_is_asked_in_halves(run: Run, save: Save) -> None:
    device = {"model": DPU, "release": "acme.example/dpu@2.0", "values": {"mac": "0" * 4000}}
    vms = [{"id": f"vm-{number}", "devices": [device] * 100} for number in range(3)]
    answer = planned(run, save("vms.json", vms), "--label", "rack=r1")
    assert (answer["question_count"], [vm["possible_count"] for vm in answer["vms"]]) == (2, [5, 5, 5])


def test_a_plan_without_the_room_at_hosts_says_that_it_is_without(
    run: Run, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    post = Registry.post

    def refuse(registry: Registry, path: str, document: Any, **parameters: Any) -> Any:
        if document["detail"] != "summary":
            message = "the answer would be too large"
            raise RegistryError(message, {"status": 422, "code": "over-budget"})
        return post(registry, path, document, **parameters)

    monkeypatch.setattr(Registry, "post", refuse)
    ended = run("drain", save("vms.json", [gpu_vm("vm", "4g")]), "--label", "rack=r1")
    assert ended.exit_code == 0
    assert "any of 4 hosts such as" in ended.stdout
    assert "how much room the units of hosts have is left out of the plan: the answer would be too" in ended.stderr


def test_what_is_not_checked_is_named_and_no_exit_status_promises_it(run: Run, save: Save) -> None:
    file = save("vms.xml", domain("gpu", NET + GPU) + domain("empty", ""))
    ended = run("drain", file, "--source-host", "host-02", "--label", "rack=r1")
    assert ended.exit_code == 2
    headline = "1 of 2 VMs can leave, in this order; 1 of these not checked completely; 1 could not be asked about."
    assert headline in ended.stdout
    assert "9 of 9 hosts (kinds 1-6), in what was checked" in ended.stdout
    assert "empty: no device of it can be checked" in ended.stdout
    assert "not checked: gpu0 of gpu: a host device (mdev vfio-pci); name its model with --device" in ended.stderr
    assert "not all was checked of empty, gpu" in ended.stderr
    left_out = run("drain", save("gpu.xml", domain("gpu", NET + GPU)), "--label", "rack=r1", "--without", "gpu0")
    assert left_out.exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "drain takes either files with VMs or --live-host"),
        (("{file}", "--live-host", "host-02"), "drain takes either files with VMs or --live-host"),
        (("--live-host", "-x"), "--live-host must be the name of a host or an address"),
        (("--live-host", "host-02", "--device", "a=b"), "--device cannot be used with --live-host"),
        (("{file}", "{file}"), "is given 2 times: name each file once"),
        (("none.xml",), "none.xml cannot be read: No such file or directory"),
        (("{file}", "--source-host", "host-99"), "no host host-99 is registered"),
        (("{file}", "--label", "rack=r9"), "there is no host to go to: No registered host meets the label conditions"),
        (("{file}", "--label", "=r9"), "must be name=value, name!=value, name or !name"),
        (("{file}", "--device", "net7=a.com/x"), "{file} has no device net7; there are cpu, net0"),
        (("{broken}",), "{broken} cannot be read as a libvirt domain"),
        (("{json}", "--without", "net0"), "--device, --value and --without have no effect"),
        (("{unreadable}",), "{unreadable} is not valid JSON"),
        (("{text}",), "must be a question with devices or vms, or a list of VMs"),
        (("{none}",), "{none} has no VM; was its export complete?"),
        (("{file}", "{empty}"), "{empty} has no VM; was its export complete?"),
        (
            ("{hosts}", "--source-host", "host-02"),
            "the VMs run on 1,001 hosts, and a question can leave out at most 1,000: plan fewer VMs at a time",
        ),
    ],
)
def test_what_cannot_be_asked_is_an_error(run: Run, save: Save, arguments: Sequence[str], message: str) -> None:
    files = {
        "file": save("vm.xml", domain("web", NET)),
        "broken": save("broken.xml", "<domain><a></domain>"),
        "json": save("vm.json", [gpu_vm("vm", "4g")]),
        "unreadable": save("unreadable.json", "{"),
        "text": save("text.json", '{"vms": "x"}'),
        "none": save("none.json", {"vms": []}),
        "empty": save("empty.json", []),
        "hosts": save("hosts.json", [{**gpu_vm(f"vm-{at}", "4g"), "host": f"host-x{at}"} for at in range(1000)]),
    }
    ended = run("drain", *(argument.format(**files) for argument in arguments))
    assert ended.exit_code == 2, ended.output
    assert message.format(**files) in ended.stderr


def test_a_fault_of_a_vm_in_json_names_the_file(run: Run, save: Save) -> None:
    good, bad = gpu_vm("good", "4g"), {"devices": [{"id": "net0", "modell": DPU}]}
    ended = run("drain", save("good.json", good), save("bad.json", {"vms": [good, bad]}))
    assert ended.exit_code == 2
    assert "bad.json, VM 2: The request has 2 faults. (422 invalid)" in ended.stderr
    assert "/vms/0/devices/0/modell: unknown field" in ended.stderr


def test_a_name_that_resembles_an_unknown_one_is_named(run: Run, save: Save) -> None:
    ended = run(
        "drain", save("vm.json", {"devices": [{"model": "acme.example/dpu-ned", "release": "acme.example/dpu@2.0"}]})
    )
    assert ended.exit_code == 1
    assert f"Did you mean {DPU}?" in ended.stderr


def test_vms_with_the_same_name_are_told_apart(run: Run, save: Save) -> None:
    files = [save("a.xml", domain("vm", NET)), save("b.xml", domain("vm", NET))]
    assert planned(run, *files)["order"] == [f"vm ({file})" for file in files]


def test_the_question_of_a_file_is_used_without_its_destinations(run: Run, save: Save) -> None:
    question = {**gpu_vm("vm", "4g"), "destinations": [{"host": "host-01"}], "policy": "strict"}
    del question["id"]
    file = save("question.json", question)
    ended = run("drain", file, "--label", "rack=r1")
    assert ended.exit_code == 0
    assert f"{file}: of the question, only the VMs are used, not destinations, policy" in ended.stderr
    assert file in ended.stdout


def test_a_terminal_gets_a_table_that_fits(sample: TestClient, save: Save) -> None:
    file = save("vms.xml", domain("web", NET) + domain("ai", VDPA + GPU))
    with served(sample.app) as address:  # type: ignore[arg-type]
        shown = run_as_program(
            *("drain", file, "--source-host", "host-02", "--label", "rack=r1", *BEHIND),
            terminal=(80, 40),
            environment={"REGISTRY_URL": address, "REGISTRY_TOKEN": TOKEN},
        )
    table = [line for line in shown.splitlines() if line[:1] in {"┃", "│"}]
    assert all(len(line) == 80 for line in table)
    assert table[0].split()[1::2][:2] == ["turn", "VM"]
    assert [line.split()[1:4:2] for line in table if line.split()[1].isdecimal()] == [["1", "ai"], ["2", "web"]]


VIRSH = """
arguments = [argument for argument in sys.argv[1:] if argument not in {"--quiet", "--connect"}]
if arguments[-1:] == ["hostname"]:
    print("host-02.example")
elif "list" in arguments:
    print("7f5c1b1e-0000-4000-8000-000000000001 stopped")
    print()
elif arguments[-1:] != ["uri"]:
    sys.stderr.write("error: Requested operation is not valid: domain is not running\\n")
    sys.exit(1)
"""


@pytest.fixture
def virsh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return what puts a program into the path in place of virsh."""

    def install(program: str) -> None:
        path = tmp_path / "virsh"
        path.write_text(f"#!{sys.executable}\nimport sys\n{program}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))

    return install


def test_a_running_vm_that_cannot_be_read_is_named(run: Run, virsh: Callable[[str], None]) -> None:
    virsh(VIRSH)
    ended = run("drain", "--live-host", "host-02", "--label", "rack=r1")
    assert ended.exit_code == 2, ended.output
    assert "0 of 1 VMs can leave, in this order; 1 could not be asked about." in ended.stdout
    assert "stopped: stopped cannot be asked through virsh: Requested operation is not valid" in ended.stdout
    assert "because VMs run there: host-02" in ended.stderr


def test_a_libvirt_that_runs_no_vm_has_nothing_to_drain(run: Run, virsh: Callable[[str], None]) -> None:
    virsh("sys.exit(0)")
    ended = run("drain", "--live-host", "qemu+ssh://elsewhere/system")
    assert (ended.exit_code, ended.stdout) == (0, "There is no VM to move.\n")
    assert "qemu+ssh://elsewhere/system is not registered, so it is not left out" in ended.stderr


def test_a_host_is_asked_over_ssh_unless_virsh_asks_it_by_default(
    run: Run, virsh: Callable[[str], None], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    write = f"open({str(log)!r}, 'a').write(' '.join(sys.argv[1:]) + '\\n')"
    virsh(f"{write}\nprint('error: away', file=sys.stderr)\nsys.exit(1)")
    ended = run("drain", "--live-host", "host-07")
    assert (ended.exit_code, "libvirt cannot be asked through virsh: away" in ended.stderr) == (2, True)
    assert "--connect qemu+ssh://host-07/system?no_tty=1 list --uuid --name" in log.read_text()


def test_the_release_of_the_source_host_is_that_of_its_qemu(run: Run, save: Save) -> None:
    file = save("web.xml", domain("web", NET))
    # QEMU 10.0 on a host with an older kernel, and 7.2: what they make of the same machine type differs.
    reasons = [
        planned(run, file, "--source-host", host, "--label", "rack=r3", status=status)["vms"][0]["possible_count"]
        for host, status in (("host-31", 0), ("host-11", 0))
    ]
    assert reasons == [10, 10]
    with_source = run("drain", file, "--source", RELEASE["7.2"], "--label", "rack=r3")
    assert with_source.exit_code == 0


def test_its_help_names_the_hint_and_the_statuses(run: Run) -> None:
    helped = " ".join(run("drain", "--help").stdout.split())
    assert "a hint, and decides no verdict" in helped
    assert "Exit status 0 every VM can go to some host, 1" in helped
