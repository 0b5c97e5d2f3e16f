"""hook libvirt answers libvirt by its exit status and standard error; a real libvirt asks it in tests/libvirt."""

import contextlib
import json
import socket
import subprocess
import time
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from app.cli import incoming
from app.cli.client import Registry
from app.cli.host.emulator import Emulator
from app.cli.incoming import NAMESPACE, Stamp
from app.hypervisor.domain import parsed
from tests.cli.conftest import Run

QEMU = "qemu.org/qemu-system-x86_64"
NIC, RNG = "qemu.org/virtio-net-pci", "qemu.org/virtio-rng-pci"
UUID = "4dea22b3-1d52-d8f3-2516-782e98ab3fa0"
XML = f"""<domain type='kvm'><name>vm1</name><uuid>{UUID}</uuid>
<metadata>{{metadata}}</metadata><os><type arch='x86_64' machine='pc-q35-9.0'>hvm</type></os>
<devices><emulator>{{emulator}}</emulator><interface type='bridge'><model type='virtio'/></interface>{{more}}
</devices></domain>"""
RNG_XML = "<rng model='virtio'><backend model='random'/></rng>"
UNKNOWN_XML = "<hostdev mode='subsystem' type='pci'/>"


@pytest.fixture
def fleet(run: Run, api: Registry) -> Run:
    """Return the command, with two releases of QEMU: in the newer one a card has a feature that is on."""
    api.put("/vendors/qemu.org", {})
    queues = {"queues": {"type": "int", "init_value": 1, "off_value": 1}}
    new = {"type": "bool", "init_value": False, "off_value": False}
    card: dict[str, Any] = {NIC: {"variables": queues}, RNG: {"variables": queues}}
    profile = {"name": "qemu.org/pc-q35-9.0", "values": {NIC: {}, RNG: {}}}
    api.put(f"/releases/{QEMU}@9.0.0", {"models": card, "profiles": [profile]})
    newer = {**card, NIC: {"variables": {**queues, "new": new}}}
    own = {"qemu.org/pc-q35-9.0": {NIC: {"new": True}}}
    api.put(f"/releases/{QEMU}@9.1.0", {"models": newer, "profiles": ["qemu.org/pc-q35-9.0"], "own_values": own})
    for name, release in (("old", "9.0.0"), ("new", "9.1.0")):
        api.put(f"/hosts/{name}", {"releases": [f"{QEMU}@{release}"]})
    return run


def domain(more: str = "", stamp: Stamp | None = None, emulator: str = "/usr/bin/qemu-system-x86_64") -> str:
    """Return the XML of a VM, with its stamp as virsh puts it there."""
    element = "" if stamp is None else stamp.element().replace("<source ", f"<r:source xmlns:r='{NAMESPACE}' ")
    return XML.format(metadata=element, more=more, emulator=emulator)


def migrate(run: Run, to: str, xml: str, *options: str) -> tuple[int, str]:
    """Have the hook asked about a migration; return its exit status and the reason."""
    asked = run("hook", "libvirt", "vm1", "migrate", "begin", "-", "--host", to, *options, stdin=xml)
    assert asked.stdout == ""
    return asked.exit_code, asked.stderr


def test_a_host_that_can_take_the_vm_lets_it_in(fleet: Run) -> None:
    status, reason = migrate(fleet, "old", domain(RNG_XML))
    assert (status, "refuses" in reason) == (0, False)


def test_a_refusal_says_why_once_for_all_devices(fleet: Run) -> None:
    status, reason = migrate(fleet, "old", domain(RNG_XML).replace("pc-q35-9.0", "pc-q35-9.9"))
    assert status == 1
    assert "the device-profile registry refuses to move vm1 to old:" in reason
    why = f"interface0, rng0: {QEMU}@9.0.0 does not list qemu.org/pc-q35-9.9 among the profiles that it supports."
    assert reason.count(why) == 1


def test_the_source_is_what_the_metadata_says(fleet: Run) -> None:
    stamp = Stamp(UUID, "new", Emulator("qemu-system-x86_64", "9.1.0", 'A "package" <1>'))
    assert Stamp.of(parsed(domain(stamp=stamp).encode(), "a test")) == stamp
    # Without a source, only the machine type is compared.
    assert migrate(fleet, "old", domain())[0] == 0
    # The newer QEMU made the card with a feature that the older one does not have.
    status, reason = migrate(fleet, "old", domain(stamp=stamp))
    assert (status, "new=on at the source" in reason) == (1, True), reason
    unpublished = Stamp(UUID, "new", Emulator("qemu-system-x86_64", "9.2.0"))
    status, reason = migrate(fleet, "old", domain(stamp=unpublished))
    assert (status, f"{QEMU}@9.2.0" in reason) == (1, True)


@pytest.mark.parametrize(
    "fields",
    [
        (UUID, "new", "", "9.1.0"),
        (UUID, "../releases", "qemu-system-x86_64", "9.1.0"),
        (UUID, "..", "qemu-system-x86_64", "9.1.0"),
        # A clone carries the metadata of its original.
        ("00000000-0000-0000-0000-000000000001", "new", "qemu-system-x86_64", "9.1.0"),
    ],
)
def test_a_stamp_that_is_not_one_of_this_vm_is_no_source(fleet: Run, fields: tuple[str, str, str, str]) -> None:
    uuid, host, product, version = fields
    status, reason = migrate(fleet, "old", domain(stamp=Stamp(uuid, host, Emulator(product, version))))
    assert (status, "refuses" in reason) == (0, False), reason


def test_what_libvirt_would_not_set_refuses(fleet: Run) -> None:
    # The older QEMU made the card without a feature that the newer one gives it by itself under this machine type.
    stamp = Stamp(UUID, "old", Emulator("qemu-system-x86_64", "9.0.0"))
    status, reason = migrate(fleet, "new", domain(stamp=stamp))
    assert (status, "must-be-set" in reason) == (2, True), reason
    assert migrate(fleet, "new", domain(stamp=stamp), "--unasked", "allow")[0] == 0


def test_what_cannot_be_asked_refuses_unless_it_is_allowed(fleet: Run) -> None:
    xml = domain(UNKNOWN_XML)
    status, reason = migrate(fleet, "old", xml)
    assert (status, "hostdev0" in reason, "--unasked allow" in reason) == (2, True, True)
    assert migrate(fleet, "old", xml, "--without", "hostdev0")[0] == 0
    status, reason = migrate(fleet, "old", xml, "--unasked", "allow")
    assert (status, "not checked: hostdev0" in reason) == (0, True)
    # Also where nothing else is left to ask.
    alone = xml.replace("<interface type='bridge'><model type='virtio'/></interface>", "")
    assert [migrate(fleet, "old", alone, "--unasked", choice)[0] for choice in ("refuse", "allow")] == [2, 0]
    # What was asked still counts.
    assert migrate(fleet, "old", xml.replace("9.0", "9.9"), "--unasked", "allow")[0] == 1


@pytest.mark.parametrize("xml", ["", "<domain", "<domain/>", "\x00", "<a>" * 1000])
def test_no_domain_is_refused(fleet: Run, xml: str) -> None:
    status, reason = migrate(fleet, "old", xml)
    assert (status, bool(reason)) == (2, True)
    assert "Traceback" not in reason


def test_a_host_that_is_not_registered_and_a_registry_that_is_away_refuse(
    fleet: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    status, reason = migrate(fleet, "nowhere", domain())
    assert (status, "No host nowhere is registered" in reason) == (1, True)
    # From here on, the command sends its requests itself.
    monkeypatch.undo()
    monkeypatch.setattr(incoming, "_RETRY_SECONDS", 0.1)
    monkeypatch.setenv("REGISTRY_URL", "http://127.0.0.1:1")
    status, reason = migrate(fleet, "old", domain())
    assert (status, "127.0.0.1:1" in reason) == (2, True)


def test_a_registry_that_answers_byte_by_byte_holds_a_migration_no_longer_than_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def drip(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection, contextlib.suppress(OSError):
            for byte in b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000:
                connection.send(bytes([byte]))
                time.sleep(0.05)

    monkeypatch.setattr(incoming, "_LIMIT_SECONDS", 0.5)
    move = incoming.Move({"host": "new"}, "new", "strict", incoming.Unasked.ALLOW, source="old")
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("REGISTRY_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        Thread(target=drip, args=(server,), daemon=True).start()
        started = time.monotonic()
        decision = incoming.decide(domain().encode(), "the domain", None, move)
        assert time.monotonic() - started < 2
    assert decision.status == 2
    assert decision.message.startswith("the device-profile registry gave no answer within 0.5 seconds")


@pytest.mark.parametrize(
    "call", [("prepare", "begin"), ("start", "begin"), ("started", "begin"), ("stopped", "end"), ("migrate", "end")]
)
def test_other_calls_do_nothing(run: Run, monkeypatch: pytest.MonkeyPatch, call: tuple[str, str]) -> None:
    monkeypatch.setenv("REGISTRY_URL", "http://127.0.0.1:1")
    done = run("hook", "libvirt", "vm1", *call, "-", stdin="")
    assert (done.exit_code, done.output) == (0, "")


def test_a_vm_is_stamped_by_a_process_of_its_own(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    binary = tmp_path / "qemu-system-x86_64"
    binary.write_text("#!/bin/sh\necho 'QEMU emulator version 9.1.0 (Debian 1:9.1.0-1)'\n")
    binary.chmod(0o755)
    started: list[tuple[list[str], dict[str, Any]]] = []

    def start(command: list[str], **options: Any) -> None:
        started.append((command, options))

    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.setattr("app.cli.host.emulator.Emulator", _Known)
    xml = domain(emulator=str(binary))
    done = run("hook", "libvirt", "vm1", "started", "begin", "-", "--stamp", "--host", "here", stdin=xml)
    assert (done.exit_code, done.output) == (0, "")
    ((command, options),) = started
    assert command[-4] == UUID
    facts = 'host="here" product="qemu-system-x86_64" version="9.1.0" package="Debian 1:9.1.0-1"'
    assert command[-1] == f'<source domain="{UUID}" {facts}/>'
    assert options["start_new_session"]
    assert {options[stream] for stream in ("stdin", "stdout", "stderr")} == {subprocess.DEVNULL}


class _Known(Emulator):
    """A binary that was asked before: the process of this test cannot start any."""

    @classmethod
    def of(cls, binary: Path) -> Emulator:
        """Return what the binary says."""
        assert binary.exists()
        return Emulator("qemu-system-x86_64", "9.1.0", "Debian 1:9.1.0-1")


def test_a_vm_that_cannot_be_stamped_starts_anyway(run: Run) -> None:
    xml = domain(emulator="/none")
    done = run("hook", "libvirt", "vm1", "started", "begin", "-", "--stamp", stdin=xml)
    assert (done.exit_code, done.stdout) == (0, "")
    assert "the VM is not stamped: /none " in done.stderr


def test_the_reasons_are_those_of_the_answer(fleet: Run, api: Registry) -> None:
    question = {"devices": [{"model": NIC, "profile": "qemu.org/none"}], "destinations": [{"host": "old"}]}
    problem, *_ = api.post("/compatibility", question)["results"][0]["devices"][0]["problems"]
    _, reason = migrate(fleet, "old", domain().replace("pc-q35-9.0", "none"))
    assert problem["message"] in reason, json.dumps(problem)
