"""check --domain asks about, or names, what a VM has beside its devices; and it answers every VM."""

import json
from pathlib import Path

import pytest

from app.cli.client import Registry
from app.cli.qemu.cpu import CpuModels, publish_cpu_models
from app.domain.fleet.rendering import CPU_MODEL
from app.hypervisor.domain import Domain, DomainOptions
from tests.cli.conftest import Run

RELEASE = "qemu.org/qemu-system-x86_64@7.2.22"
CARD = "<interface type='network'><model type='virtio'/><alias name='net0'/></interface>"


def domain(tmp_path: Path, beside: str = "", devices: str = CARD, name: str = "vm", arch: str = "x86_64") -> Path:
    """Write a domain; beside: elements beside <devices>."""
    path = tmp_path / f"{name}.xml"
    system = f"<type arch='{arch}' machine='pc-q35-7.2'>hvm</type>"
    if "<os>" in beside:
        beside = beside.replace("<os>", f"<os>{system}")
    else:
        beside += f"<os>{system}</os>"
    path.write_text(f"<domain type='kvm'><name>{name}</name>{beside}<devices>{devices}</devices></domain>")
    return path


def unasked(tmp_path: Path, beside: str = "", devices: str = CARD, **options: list[str]) -> set[str]:
    """Return what a domain's question leaves out."""
    read = Domain.read(domain(tmp_path, beside, devices), DomainOptions(without=options.get("without", [])))
    return set(read.unasked)


def asked(tmp_path: Path, beside: str, device_id: str, arch: str = "x86_64") -> dict[str, object] | None:
    """Return a device of a domain's question, None if it is not asked about."""
    read = Domain.read(domain(tmp_path, beside, arch=arch), DomainOptions())
    return next((device for device in read.devices if device["id"] == device_id), None)


@pytest.mark.parametrize(
    ("beside", "expected"),
    [
        ("<features><acpi/><apic/><smm state='on'/><vmport state='off'/></features>", set()),
        ("<features><hyperv mode='custom'><relaxed state='on'/></hyperv></features>", {"features/hyperv"}),
        ("<features><hyperv><relaxed state='off'/></hyperv></features>", set()),
        ("<features><hyperv mode='passthrough'/></features>", {"features/hyperv"}),
        ("<features><kvm><hidden state='on'/></kvm><xen><e820_host state='on'/></xen></features>",
         {"features/kvm", "features/xen"}),
        ("<features><something-new state='on'/></features>", {"features/something-new"}),
        ("<clock offset='utc'><timer name='hpet' present='no'/></clock>", set()),
        ("<clock><timer name='hypervclock' present='yes'/></clock>", {"clock/hypervclock"}),
        ("<clock><timer name='hypervclock' present='no'/></clock>", set()),
        ("<os><loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE.fd</loader></os>", {"firmware"}),
        ("<os firmware='efi'></os>".replace(" firmware='efi'", ""), set()),
        ("<memory>1</memory><vcpu>4</vcpu><pm/><metadata/>", set()),
        ("<future-element/>", {"future-element"}),
        ("<cpu mode='host-passthrough'/>", {"cpu"}),
        ("<cpu mode='host-model'/>", {"cpu"}),
        ("<cpu match='minimum'><model>EPYC</model></cpu>", {"cpu"}),
        ("<cpu><topology sockets='1' cores='2' threads='1'/></cpu>", set()),
        ("<cpu><model vendor_id='KVMKVMKVM'>EPYC</model></cpu>", {"cpu/vendor_id"}),
        ("<cpu><model>EPYC</model><vendor>AMD</vendor><cache level='3' mode='emulate'/></cpu>",
         {"cpu/vendor", "cpu/cache"}),
        ("<cpu><model>EPYC</model><maxphysaddr mode='emulate' bits='42'/></cpu>", {"cpu/maxphysaddr"}),
        ("<features><pmu state='on'/></features>", {"features/pmu"}),
        ("<features><pmu state='off'/></features>", set()),
        ("<clock><timer name='new'/></clock>", {"clock/new"}),
        ("<os><kernel>/boot/vmlinuz</kernel><initrd>/i</initrd><cmdline>a</cmdline></os>", {"os/kernel", "os/initrd"}),
        ("<os><acpi><table type='slic'>/x</table></acpi><smbios mode='host'/></os>", {"os/acpi", "os/smbios"}),
        ("<os><boot dev='hd'/><bootmenu enable='yes'/><smbios mode='sysinfo'/></os>", set()),
        ("<cpu mode='custom'><model>EPYC</model><feature policy='optional' name='svm'/></cpu>", {"cpu/svm"}),
        ("<cpu mode='custom'><model>EPYC</model><maxphysaddr mode='passthrough'/></cpu>", {"cpu/maxphysaddr"}),
    ],
)  # fmt: skip
def test_what_is_beside_the_devices_is_passed_on_or_named(tmp_path: Path, beside: str, expected: set[str]) -> None:
    assert unasked(tmp_path, beside) == expected
    assert unasked(tmp_path, beside, without=sorted(expected)) == set()


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        ("<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>", {"tpm0-backend"}),
        ("<tpm model='tpm-tis'><backend type='passthrough'/></tpm>", {"tpm0-backend"}),
        ("<interface type='vdpa'><model type='virtio'/></interface>", {"interface0-backend"}),
        ("<interface type='vhostuser'><model type='virtio'/></interface>", {"interface0-backend"}),
        ("<filesystem><driver type='virtiofs'/><target dir='a'/></filesystem>", {"filesystem0-backend"}),
        ("<filesystem><driver type='path'/><target dir='a'/></filesystem>", {"filesystem0-backend"}),
        ("<interface type='user'><backend type='passt'/><model type='virtio'/></interface>", {"interface0-backend"}),
        ("<interface type='network'><model type='virtio'/></interface>", set()),
        ("<channel type='qemu-vdagent'><target type='virtio' name='a'/></channel>", {"channel0-backend"}),
        (
            "<disk type='file' device='disk'><driver name='qemu' type='vdi'/><target dev='vda' bus='virtio'/></disk>",
            {"disk0-backend"},
        ),
        ("<panic model='hyperv'/>", {"panic0"}),
        (
            "<disk type='vhostvdpa' device='disk'><target bus='virtio'/></disk>",
            {"disk0-backend"},
        ),
    ],
)
def test_what_lies_in_a_program_or_driver_of_the_host_is_named(
    tmp_path: Path, devices: str, expected: set[str]
) -> None:
    assert unasked(tmp_path, devices=devices) == expected
    # Who leaves the device out leaves out what does its work, too.
    ids = [name.removesuffix("-backend") for name in expected]
    assert unasked(tmp_path, devices=devices + CARD, without=ids) == set()


@pytest.mark.parametrize(
    ("arch", "emulator", "is_told"),
    [
        ("x86_64", "x86_64", False),
        ("i686", "x86_64", False),
        ("aarch64", "x86_64", True),
        ("aarch64", "aarch64", False),
    ],
)
def test_a_domain_of_another_architecture_is_named(tmp_path: Path, arch: str, emulator: str, is_told: bool) -> None:
    read = Domain.read(domain(tmp_path, arch=arch), DomainOptions(), f"qemu.org/qemu-system-{emulator}@10.0")
    assert ("os/type" in read.unasked) is is_told


def test_the_user_can_name_the_model_of_what_lies_on_the_host(tmp_path: Path) -> None:
    path = domain(tmp_path, devices="<tpm model='tpm-crb'><backend type='emulator'/></tpm>")
    models, releases = {"tpm0-backend": "swtpm.org/state"}, {"tpm0-backend": "swtpm.org/swtpm@0.8"}
    read = Domain.read(path, DomainOptions(models=models, releases=releases), RELEASE)
    assert read.unasked == {}
    assert read.devices[-1] == {
        "id": "tpm0-backend",
        "model": "swtpm.org/state",
        "release": "swtpm.org/swtpm@0.8",
        "values": {},
        "part_of": "tpm0",
        "role": "backend",
    }


def test_a_generation_id_and_a_core_dump_note_are_devices(tmp_path: Path) -> None:
    genid = asked(tmp_path, "<genid>43dc0cf8-809b-4adb-9bea-a9abb5f3d90e</genid>", "genid")
    assert genid is not None
    assert (genid["model"], genid["values"]) == (
        "qemu.org/vmgenid",
        {"guid": "43dc0cf8-809b-4adb-9bea-a9abb5f3d90e"},
    )
    core = asked(tmp_path, "<features><vmcoreinfo state='on'/></features>", "vmcoreinfo")
    assert core is not None
    assert (core["model"], core["profile"]) == ("qemu.org/vmcoreinfo", "qemu.org/pc-q35-7.2")
    assert asked(tmp_path, "<features><vmcoreinfo state='off'/></features>", "vmcoreinfo") is None


CPU = """<cpu mode='custom' match='exact'><model fallback='forbid'>Broadwell-noTSX</model>
  <feature policy='require' name='pclmuldq'/><feature policy='disable' name='rtm'/>
  <feature policy='force' name='lahf_lm'/><feature name='vmx'/></cpu>
  <clock><timer name='tsc' frequency='2593250000'/></clock>"""


def test_the_cpu_is_a_device_whose_profile_is_its_model(tmp_path: Path) -> None:
    assert asked(tmp_path, CPU, "cpu") == {
        "id": "cpu",
        "model": CPU_MODEL,
        "profile": f"{CPU_MODEL}/Broadwell-noTSX",
        "values": {"pclmulqdq": "on", "rtm": "off", "lahf-lm": "on", "vmx": "on", "tsc-frequency": "2593250000"},
    }
    assert asked(tmp_path, "<cpu><model>cortex-a57</model></cpu>", "cpu", arch="aarch64") is None


def test_what_libvirt_gives_the_cpu_from_elsewhere_is_asked(tmp_path: Path) -> None:
    elsewhere = """<cpu><model>EPYC</model><feature policy='require' name='osxsave'/><feature name='cmt'/></cpu>
      <features><apic eoi='on'/><pvspinlock state='off'/></features>
      <clock><timer name='kvmclock' present='no'/><timer name='hpet' present='no'/></clock>"""
    cpu = asked(tmp_path, elsewhere, "cpu")
    assert cpu is not None
    assert cpu["values"] == {"kvmclock": "off", "kvm-pv-eoi": "on", "kvm-pv-unhalt": "off"}


@pytest.mark.parametrize("beside", ["", "<cpu><topology sockets='1' cores='2' threads='1'/></cpu>"])
def test_a_cpu_that_the_xml_does_not_name_is_qemus_default(
    api: Registry, run: Run, tmp_path: Path, beside: str
) -> None:
    publish(api)
    question = ["check", "--domain", str(domain(tmp_path, beside)), "--destination", RELEASE, "--json"]
    answer = run(*question, "--source", RELEASE)
    assert (answer.exit_code, "the XML names no CPU" in answer.stderr) == (0, True)
    publish_cpus(api)
    answer = run(*question, "--source", RELEASE)
    assert [device["id"] for device in json.loads(answer.stdout)["results"][0]["devices"]] == ["net0", "cpu"]
    assert run(*question).exit_code == 0
    assert run(*question, "--source", RELEASE, "--without", "cpu").stderr == ""


def test_a_cpu_of_a_destination_without_cpu_models_is_named(api: Registry, run: Run, tmp_path: Path) -> None:
    publish(api)
    publish_cpus(api)
    other = RELEASE.replace("7.2.22", "8.0")
    card = {"mq": {"type": "bool", "init_value": False, "off_value": False}}
    listed = {"profiles": ["qemu.org/pc-q35-7.2"]}
    api.put(
        f"/releases/{other}", {"models": {"qemu.org/virtio-net-pci": {"variables": card}}, **listed}, override="a test"
    )
    api.put("/hosts/h", {"releases": [other], "labels": {"rack": "r1"}})
    for option in (["--destination", other], ["--host", "h"], ["--label", "rack"], []):
        answer = run("check", "--domain", str(domain(tmp_path, CPU)), "--source", RELEASE, *option)
        assert (answer.exit_code, f"the registry has no CPU models of {other}" in answer.stderr) == (2, True)


def publish(api: Registry) -> None:
    """Publish a network card and two CPU models; one of them has an alias."""
    api.put("/vendors/qemu.org", {})
    card = {"mq": {"type": "bool", "init_value": False, "off_value": False}}
    profiles = [{"name": "qemu.org/pc-q35-7.2", "values": {"qemu.org/virtio-net-pci": {}}}]
    api.put(f"/releases/{RELEASE}", {"models": {"qemu.org/virtio-net-pci": {"variables": card}}, "profiles": profiles})


def publish_cpus(api: Registry) -> None:
    """Publish two CPU models; one of them has an alias."""
    features = dict.fromkeys(("pcid", "rtm", "pclmulqdq", "lahf-lm", "vmx", "invtsc"), True)
    models = {"Broadwell-v1": frozenset({"pcid", "rtm"}), "Broadwell-v2": frozenset({"pcid"}), "qemu64-v1": frozenset()}
    aliases = {"Broadwell-noTSX": "Broadwell-v2", "qemu64": "qemu64-v1"}
    cpus = CpuModels("7.2.22", "x86_64", True, features, models, aliases)
    publish_cpu_models(api, cpus, RELEASE)


def test_a_cpu_that_the_registry_cannot_judge_is_named(api: Registry, run: Run, tmp_path: Path) -> None:
    publish(api)
    question = ["check", "--domain", str(domain(tmp_path, CPU)), "--source", RELEASE, "--destination", RELEASE]
    answer = run(*question)
    assert answer.exit_code == 2, answer.output
    assert f"not checked: cpu: the registry has no CPU models of {RELEASE}" in answer.stderr
    assert run(*question, "--without", "cpu").exit_code == 0
    publish_cpus(api)
    answer = run(*question, "--json")
    assert answer.exit_code == 0, answer.output
    assert [device["id"] for device in json.loads(answer.stdout)["results"][0]["devices"]] == ["net0", "cpu"]
    # A CPU feature that the host does not have.
    api.put("/hosts/old", {"releases": [RELEASE], "restrict": {CPU_MODEL: {"pcid": [False]}}})
    elsewhere = run(*question[:5], "--host", "old")
    assert elsewhere.exit_code == 1
    assert "pcid=on" in elsewhere.stdout


def test_every_vm_is_answered(api: Registry, run: Run, tmp_path: Path) -> None:
    publish(api)
    slow = "<interface type='network'><model type='virtio'/><driver queues='4'/></interface>"
    paths = [domain(tmp_path, name="one"), domain(tmp_path, name="two", devices=slow), domain(tmp_path, name="one-2")]
    paths[2].write_text(paths[2].read_text().replace("<name>one-2<", "<name>one<"))
    options = [option for path in paths for option in ("--domain", str(path))]
    answer = run("check", *options, "--source", RELEASE, "--destination", RELEASE, "--json")
    results = {result["vm"]: result["compatible"] for result in json.loads(answer.stdout)["results"]}
    assert results == {f"one ({paths[0]})": True, "two": False, f"one ({paths[2]})": True}
    assert answer.exit_code == 1


def test_more_devices_than_one_question_takes_are_asked_about_in_several(
    api: Registry, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(api)
    monkeypatch.setattr("app.wire.compatibility.MAX_DEVICES", 2)
    options = [option for name in "abcde" for option in ("--domain", str(domain(tmp_path, name=name)))]
    answer = run("check", *options, "--source", RELEASE, "--destination", RELEASE, "--json")
    assert [result["vm"] for result in json.loads(answer.stdout)["results"]] == list("abcde")


def test_a_domain_can_come_from_standard_input(api: Registry, run: Run, tmp_path: Path) -> None:
    publish(api)
    text = domain(tmp_path).read_text()
    answer = run("check", "--domain", "-", "--source", RELEASE, "--destination", RELEASE, stdin=text)
    assert answer.exit_code == 0, answer.output


def test_options_can_be_about_one_of_several_vms(api: Registry, run: Run, tmp_path: Path) -> None:
    publish(api)
    with_host_device = "<hostdev mode='subsystem' type='mdev'/>" + CARD
    options = ["--domain", str(domain(tmp_path, name="a"))]
    options += ["--domain", str(domain(tmp_path, name="b", devices=with_host_device))]
    question = ["check", *options, "--source", RELEASE, "--destination", RELEASE]
    assert "not checked: b: hostdev0: a host device (mdev)" in run(*question).stderr
    assert run(*question, "--without", "hostdev0").exit_code == 0
    wrong = run(*question, "--without", "hostdev7")
    assert (wrong.exit_code, "None of the domains has a device hostdev7" in wrong.stderr) == (2, True)


def test_what_is_stated_of_a_device_of_several_vms_is_said_to_count_for_each(
    api: Registry, run: Run, tmp_path: Path
) -> None:
    publish(api)
    host_device = "<hostdev mode='subsystem' type='mdev'/>"
    paths = [domain(tmp_path, name=name, devices=host_device) for name in ("a", "b")]
    question = ["check", *(part for path in paths for part in ("--domain", str(path))), "--destination", RELEASE]
    card = "qemu.org/virtio-net-pci"
    shared = run(*question, "--source", RELEASE, "--device", f"hostdev0={card}")
    assert shared.exit_code == 0, shared.output
    assert "hostdev0 is in several VMs, and what is stated of it counts for each: a, b." in shared.stderr
    one = run(*question, "--source", RELEASE, "--device", f"a:hostdev0={card}", "--without", "b:hostdev0")
    assert (one.exit_code, "several VMs" in one.stderr) == (2, False)
    assert "not checked: b" in one.stderr
    stranger = run(*question, "--device", f"c:hostdev0={card}")
    assert (stranger.exit_code, "there are a, b" in stranger.stderr) == (2, True)
    misspelt = run(*question, "--without", "a:hostdev7", "--device", f"hostdev0={card}")
    assert (misspelt.exit_code, "has a device a:hostdev7" in misspelt.stderr) == (2, True)
    twice = run("check", "--domain", str(paths[0]), "--domain", str(paths[0]), "--destination", RELEASE)
    assert "is given 2 times: name each VM once" in twice.stderr


@pytest.mark.parametrize("is_reversed", [False, True])
def test_what_is_stated_of_one_vm_counts_before_what_is_stated_of_any(tmp_path: Path, is_reversed: bool) -> None:
    values = [("net0", {"mac": "52:54:00:00:00:01", "mq": "off"}), ("a:b:net0", {"mq": "on"}), ("a:net0", {"mq": "x"})]
    releases = [("net0", RELEASE), ("a:b:net0", f"{RELEASE}.1")]
    order = reversed if is_reversed else list
    options = DomainOptions(values=dict(order(values)), releases=dict(order(releases)))
    path = domain(tmp_path, name="ab")
    path.write_text(path.read_text().replace("<name>ab<", "<name>a:b<"))
    (card,) = Domain.read(path, options, RELEASE).devices
    assert card["values"] == {"mac": "52:54:00:00:00:01", "mq": "on"}
    assert card["release"] == f"{RELEASE}.1"


def test_what_is_stated_of_a_cpu_that_the_xml_does_not_name_is_a_question(
    api: Registry, run: Run, tmp_path: Path
) -> None:
    publish(api)
    question = ["check", "--domain", str(domain(tmp_path)), "--source", RELEASE, "--destination", RELEASE]
    stated = run(*question, "--value", "cpu/vmx=on")
    assert (stated.exit_code, "not checked: cpu:" in stated.stderr) == (2, True)
    other = run(*question, "--device", "cpu=vendor-x.com/cpu")
    assert (other.exit_code, "vendor-x.com/cpu" in other.stdout) == (1, True)


def test_a_back_end_that_is_named_stays_where_its_device_is_left_out(tmp_path: Path) -> None:
    path = domain(tmp_path, devices=CARD + "<tpm model='tpm-crb'><backend type='emulator'/></tpm>")
    read = Domain.read(path, DomainOptions(without=["tpm0"], models={"tpm0-backend": "swtpm.org/state"}), RELEASE)
    assert [(device["id"], device.get("part_of")) for device in read.devices] == [
        ("net0", None),
        ("tpm0-backend", None),
    ]


def test_several_labels_select_the_hosts_that_have_all_of_them(api: Registry, run: Run) -> None:
    publish(api)
    for name, labels in {"a": {"rack": "1", "gpu": "yes"}, "b": {"rack": "1"}, "c": {"rack": "2"}}.items():
        api.put(f"/hosts/{name}", {"releases": [RELEASE], "labels": labels})
    question = ["check", "--model", "qemu.org/virtio-net-pci", "--source", RELEASE, "--json"]

    def found(*labels: str) -> list[str]:
        options = [option for label in labels for option in ("--label", label)]
        listed = json.loads(run("host", "list", *options, "--json").stdout)
        results = json.loads(run(*question, *options).stdout)["results"]
        hosts = [result["destination"] for result in results if result["compatible"]]
        assert [host["host"] for host in listed] == hosts
        return hosts

    assert found("rack=1") == ["a", "b"]
    assert found("rack=1", "gpu") == ["a"]
    assert found("rack=1", "!gpu") == ["b"]
    assert found("rack!=1") == ["c"]
    assert found("gpu!=yes") == ["b", "c"]
    assert found("rack=1", "rack=2") == []


def test_one_document_is_printed_whatever_the_end(api: Registry, run: Run) -> None:
    publish(api)
    answer = run("check", "--model", "qemu.org/nothing", "--source", RELEASE, "--json")
    assert answer.exit_code == 2
    document = json.loads(answer.stdout)
    assert document["results"] == []
    assert "there is no destination to check" in answer.stderr


def test_what_is_behind_a_device_is_a_part_of_it(tmp_path: Path) -> None:
    xml = (
        "<filesystem><driver type='virtiofs'/><target dir='a'/></filesystem>"
        "<hostdev mode='subsystem' type='mdev' model='vfio-pci'><source/></hostdev>"
    )
    models = {
        "filesystem0-backend": "vendor-a.com/share",
        "hostdev0": "qemu.org/vfio-pci",
        "hostdev0-device": "vendor-a.com/gfx",
    }
    options = DomainOptions(models=models, releases={"hostdev0-device": "vendor-a.com/gfx/4g@1"})
    asked = Domain.read(domain(tmp_path, devices=xml), options)
    parts = {device["id"]: (device.get("part_of"), device.get("role")) for device in asked.devices}
    assert parts["filesystem0-backend"] == ("filesystem0", "backend")
    assert parts["hostdev0-device"] == ("hostdev0", "host-device")
    assert parts["hostdev0"] == parts["filesystem0"] == (None, None)
    unstated = Domain.read(domain(tmp_path, devices=xml), DomainOptions(models={"hostdev0": "qemu.org/vfio-pci"}))
    assert "hostdev0-device" in unstated.unasked
