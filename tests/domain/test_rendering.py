"""Arguments for an orchestrator: exact for all names and values, however hostile."""

from dataclasses import replace
from typing import Any

import pytest

from app.domain.fleet.form import Form
from app.domain.fleet.rendering import CPU_MODEL, rendered
from app.domain.fleet.unit_rendering import Made, UnrenderableError
from app.domain.things.profile import Profile
from app.domain.values.value import Value
from tests.domain.world import World, variable

QUEUES = variable("int", 4, 1, ["1-8"])
NET = "qemu.org/virtio-net-pci"
MACHINE = "qemu.org/pc-q35-7.2"


def arguments(
    form: Form,
    configuration: dict[str, Value],
    variables: dict[str, Any],
    model: str = NET,
    profile: Profile | None = None,
    own_values: dict[str, dict[str, dict[str, Value]]] | None = None,
) -> list[str]:
    """Return the arguments for a configuration on a release that lists machine type 7.2 and a CPU model."""
    world = World().publish("qemu.org/qemu@10", {model: variables}, [MACHINE, f"{CPU_MODEL}/EPYC-v4"])
    release, read = world.release("qemu.org/qemu@10"), world.model(model)
    assert release is not None
    assert read is not None
    return rendered(form, configuration, replace(release, own_values=own_values or {}), read, profile)


def test_qemu_gets_only_values_that_differ_from_its_own() -> None:
    variables = {"queues": QUEUES, "mq": variable("bool", True, False), "rom": variable("str", "efi.rom", "")}
    configuration: dict[str, Value] = {"queues": 4, "mq": False, "rom": ""}
    assert arguments(Form.QEMU, configuration, variables) == ["-device", "virtio-net-pci,mq=off,rom="]
    assert arguments(Form.VFIO_USER, configuration, variables) == ["--m-mq=off", "--m-queues=4", "--m-rom="]


MAC = variable("str", "", scope="instance")


def test_a_machine_type_sets_the_values_of_its_profile() -> None:
    variables = {"queues": QUEUES, "mq": variable("bool", True, False), "mac": MAC}
    configuration: dict[str, Value] = {"queues": 8, "mq": True, "mac": "52:54:00:12:34:56"}
    profile = Profile(MACHINE, {NET: {"queues": 8}})
    under = arguments(Form.QEMU, configuration, variables, profile=profile)
    assert under == ["-device", "virtio-net-pci,mac=52:54:00:12:34:56,mq=on"]
    # Nothing is known about a machine type that the release does not list, so every value is given.
    other = replace(profile, name="qemu.org/pc-q35-99")
    without = arguments(Form.QEMU, configuration, variables, profile=other)
    assert without == ["-device", "virtio-net-pci,mac=52:54:00:12:34:56,mq=on,queues=8"]


def test_a_machine_type_also_sets_backend_variables() -> None:
    variables = {"ioeventfd": variable("bool", True, False, scope="backend")}
    profile = Profile(MACHINE, {NET: {"ioeventfd": False}})
    options = arguments(Form.QEMU, {"ioeventfd": True}, variables, profile=profile)
    assert options == ["-device", "virtio-net-pci,ioeventfd=on"]


def test_values_in_which_a_release_differs_from_the_profile_are_given() -> None:
    variables = {"rombar": variable("int", -1, 0), "romsize": variable("int", 0, 0)}
    configuration: dict[str, Value] = {"rombar": 1, "romsize": 0}
    profile = Profile(MACHINE, {NET: {"rombar": 1}})
    own: dict[str, dict[str, dict[str, Value]]] = {MACHINE: {NET: {"rombar": -1}}}
    options = arguments(Form.QEMU, configuration, variables, profile=profile, own_values=own)
    assert options == ["-device", "virtio-net-pci,rombar=1"]
    elsewhere: dict[str, dict[str, dict[str, Value]]] = {"qemu.org/pc-q35-8.0": {NET: {"rombar": -1}}}
    assert arguments(Form.QEMU, configuration, variables, profile=profile, own_values=elsewhere) == [
        "-device",
        "virtio-net-pci",
    ]


def test_a_cpu_is_rendered_with_its_cpu_model() -> None:
    features = {name: variable("bool", True, False) for name in ("aes", "avx2", "svm")}
    configuration: dict[str, Value] = {"aes": True, "avx2": False, "svm": False}
    profile = Profile(f"{CPU_MODEL}/EPYC-v4", {CPU_MODEL: {"aes": True, "avx2": True}})
    assert arguments(Form.QEMU, configuration, features, CPU_MODEL, profile) == ["-cpu", "EPYC-v4,avx2=off"]
    for unusable in (None, replace(profile, name=MACHINE), replace(profile, name=f"{CPU_MODEL}/EPYC-v9")):
        with pytest.raises(UnrenderableError, match="-cpu needs a CPU model"):
            arguments(Form.QEMU, configuration, features, CPU_MODEL, unusable)


@pytest.mark.parametrize(
    ("name", "value"), [("model-id", "Xeon (Skylake, IBRS)"), ("+aes", "x"), ("-aes", "x"), ("a,b", "x"), ("help", "x")]
)
def test_a_cpu_option_that_cannot_be_expressed_is_refused(name: str, value: str) -> None:
    profile = Profile(f"{CPU_MODEL}/EPYC-v4", {CPU_MODEL: {}})
    with pytest.raises(UnrenderableError, match="cannot set"):
        arguments(Form.QEMU, {name: value}, {name: variable("str", "")}, CPU_MODEL, profile)


def test_unsettable_variables_are_not_rendered_and_backend_variables_are_not_migration_parameters() -> None:
    variables = {
        "fixed": variable("int", 3, settable=False),
        "netdev": variable("str", "", scope="backend"),
    }
    configuration: dict[str, Value] = {"fixed": 3, "netdev": "tap,0"}
    assert arguments(Form.QEMU, configuration, variables) == ["-device", "virtio-net-pci,netdev=tap,,0"]
    assert arguments(Form.VFIO_USER, configuration, variables) == []


@pytest.mark.parametrize(
    "value",
    ["a,b", ",", ",,", "a=b", "mq=on,x=y", "'; rm -rf /", "$(id)", '"', "\\", "line\nbreak", " ", "-device", "日"],
)
def test_hostile_values_stay_values(value: str) -> None:
    (_, option) = arguments(Form.QEMU, {"tag": value}, {"tag": variable("str", "")})
    assert _as_qemu_reads(option) == [("driver", "virtio-net-pci"), ("tag", value)]
    assert arguments(Form.VFIO_USER, {"tag": value}, {"tag": variable("str", "")}) == [f"--m-tag={value}"]


def _as_qemu_reads(option: str) -> list[tuple[str, str]]:
    """Return options as QEMU's opts_do_parse reads them: a name ends at = or a comma; two commas are one."""
    options: list[tuple[str, str]] = []
    while option:
        end = min((place for sign in "=," if (place := option.find(sign)) >= 0), default=len(option))
        if not options and option[end : end + 1] != "=":
            name = "driver"
        else:
            name, option = option[:end], option[end + 1 :]
        value = ""
        while option:
            if option[:2] == ",,":
                value, option = value + ",", option[2:]
            elif option[0] == ",":
                option = option[1:]
                break
            else:
                value, option = value + option[0], option[1:]
        options.append((name, value))
    return options


@pytest.mark.parametrize("name", ["driver", "id", "bus", "help", "?", "a,b", ",driver"])
def test_a_name_that_qemu_would_misread_is_refused(name: str) -> None:
    with pytest.raises(UnrenderableError):
        arguments(Form.QEMU, {name: "x"}, {name: variable("str", "")})
    assert arguments(Form.VFIO_USER, {name: "x"}, {name: variable("str", "")}) == [f"--m-{name}=x"]


@pytest.mark.parametrize("model", ["qemu.org/help", "qemu.org/{}", 'qemu.org/{"driver":"e1000"}'])
def test_a_model_that_qemu_would_misread_is_refused(model: str) -> None:
    with pytest.raises(UnrenderableError):
        arguments(Form.QEMU, {}, {}, model)


def test_a_comma_in_a_model_is_doubled() -> None:
    assert arguments(Form.QEMU, {}, {}, "vendor-a.com/a,b/c") == ["-device", "a,,b/c"]


def on_unit(
    form: Form,
    configuration: dict[str, Value],
    variables: dict[str, Any],
    made: Made,
    *,
    model: str = "virtio-spec.org/net",
    release: str = "vendor-a.com/nic@1",
) -> list[str]:
    """Return the arguments for a configuration on a unit of a host."""
    world = World().publish(release, {model: variables})
    published, read = world.release(release), world.model(model)
    assert published is not None
    assert read is not None
    return rendered(form, configuration, published, read, None, made)


FEATURES = {
    **{
        f"f.{name}": variable("bool", False, False)
        for name in ("csum", "mtu", "mac", "mq", "ctrl_vq", "version_1", "guest_uso4", "speed_duplex")
    },
    "max_vqp": variable("int", 1, 1, ["1-16"]),
    "mtu": variable("int", 1500, 1500, ["68-9000"]),
    "mac": MAC,
}
CARD = Made("vdpa0", "pci/0000:3b:00.2")


def test_vdpa_gets_the_features_that_are_on_and_the_settings_that_go_with_them() -> None:
    off: dict[str, Value] = {name: False for name in FEATURES if name.startswith("f.")}
    configuration: dict[str, Value] = {**off, "f.version_1": True, "f.csum": True, "f.guest_uso4": True, "max_vqp": 1}
    start = ["dev", "add", "name", "vdpa0", "mgmtdev", "pci/0000:3b:00.2"]
    assert on_unit(Form.VDPA, {**configuration, "mtu": 1500}, FEATURES, CARD) == [
        *start,
        "device_features",
        hex(1 << 32 | 1 << 0 | 1 << 54),
    ]
    more = {**off, "f.mac": True, "f.mtu": True, "f.mq": True, "f.ctrl_vq": True, "f.speed_duplex": True}
    settings: dict[str, Value] = {"mac": "52:54:00:12:34:56", "mtu": 9000, "max_vqp": 8}
    assert on_unit(Form.VDPA, {**more, **settings}, FEATURES, CARD) == [
        *start,
        *("mac", "52:54:00:12:34:56", "mtu", "9000", "max_vqp", "8"),
        "device_features",
        "0x8000000000420028",
    ]


def test_vdpa_takes_no_setting_whose_feature_is_not_given() -> None:
    off: dict[str, Value] = {name: False for name in FEATURES if name.startswith("f.")}
    assert "mtu" not in on_unit(Form.VDPA, {**off, "mtu": 1500}, FEATURES, CARD)
    with pytest.raises(UnrenderableError, match=r"vdpa dev add cannot set mtu to 9000; a new device has 1500\."):
        on_unit(Form.VDPA, {**off, "mtu": 9000}, FEATURES, CARD)
    without = {"f.csum": FEATURES["f.csum"], "max_vqp": FEATURES["max_vqp"]}
    with pytest.raises(UnrenderableError, match="cannot set max_vqp to 8"):
        on_unit(Form.VDPA, {"f.csum": True, "max_vqp": 8}, without, CARD)


def test_vdpa_is_given_no_features_where_the_hardware_decides_them_all() -> None:
    fixed = {"csum": variable("bool", True, settable=False), "max_vqp": variable("int", 1, 1, ["1-16"])}
    assert on_unit(Form.VDPA, {"csum": True, "max_vqp": 4}, fixed, CARD)[6:] == ["max_vqp", "4"]
    # A feature that the hardware always has is among those that are set.
    some = {**fixed, "status": variable("bool", False, False)}
    assert on_unit(Form.VDPA, {"csum": True, "status": True}, some, CARD)[6:] == ["device_features", "0x10001"]


def test_vdpa_knows_the_features_of_block_devices() -> None:
    features = {name: variable("bool", False, False) for name in ("f.mq", "f.discard")}
    configuration: dict[str, Value] = {"f.mq": True, "f.discard": True}
    # What only disks have says that it is one.
    for model in ("virtio-spec.org/blk", "vendor-a.com/dpu-disk"):
        assert on_unit(Form.VDPA, configuration, features, CARD, model=model)[-1] == hex(1 << 12 | 1 << 13)
    only = {"f.mq": variable("bool", False, False)}
    for model, bit in (("vendor-a.com/dpu-blk", 12), ("vendor-a.com/virtio-block", 12), ("vendor-a.com/my-nic", 22)):
        assert on_unit(Form.VDPA, {"f.mq": True}, only, CARD, model=model)[-1] == hex(1 << bit)
    with pytest.raises(UnrenderableError, match="is neither a network card nor a disk"):
        on_unit(Form.VDPA, {"f.mq": True}, only, CARD, model="vendor-a.com/fs")


def test_mdevctl_gets_the_parent_and_the_type() -> None:
    gpu = {"gb": variable("int", 4, settable=False)}
    uuid = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"
    of_release = {"release": "vendor-a.com/gpu/gfx-4@1", "model": "vendor-a.com/gpu"}
    for unit, parent, of_type in (
        ("0000:41:00.0/nvidia-557", "0000:41:00.0", "nvidia-557"),
        ("0000:41:00.0", "0000:41:00.0", "gfx-4"),
        ("pci/0000:41:00.0", "0000:41:00.0", "gfx-4"),
    ):
        rest = ["--parent", parent, "--type", of_type]
        assert on_unit(Form.MDEVCTL, {"gb": 4}, gpu, Made("gpu0", unit), **of_release) == ["start", *rest]
        assert on_unit(Form.MDEVCTL, {"gb": 4}, gpu, Made(uuid, unit), **of_release) == ["start", "--uuid", uuid, *rest]
    typed = {"vgpu-type": variable("str", "a", allowed=["a", "b"]), "v": variable("int", 1, scope="saved-state")}
    made = Made("gpu0", "0000:41:00.0")
    assert on_unit(Form.MDEVCTL, {"vgpu-type": "b", "v": 2}, typed, made, **of_release)[-1] == "b"


@pytest.mark.parametrize(
    ("form", "variables", "made", "message"),
    [
        (Form.VDPA, FEATURES, Made("vdpa0"), "vdpa dev add needs a management device: name it as a unit of the host."),
        (Form.MDEVCTL, FEATURES, Made("x"), "mdevctl needs the parent of the device: name it as a unit of the host."),
        (
            Form.VDPA,
            {"gb": variable("int", 4)},
            CARD,
            "vdpa dev add makes virtio devices, and virtio-spec.org/net has none of virtio's features.",
        ),
        (
            Form.VDPA,
            {**FEATURES, "rings": variable("int", 4)},
            CARD,
            "vdpa dev add cannot set rings to 8; a new device has 4.",
        ),
        (
            Form.VDPA,
            {**FEATURES, "f.new": variable("bool", False, False)},
            CARD,
            (
                "vdpa dev add cannot set the features of virtio-spec.org/net, which has features that it "
                "does not know: f.new."
            ),
        ),
        (
            Form.VDPA,
            {**FEATURES, "f.discard": variable("bool", False, False)},
            CARD,
            "vdpa dev add cannot set the features of virtio-spec.org/net, which is neither a network card nor a disk.",
        ),
        (Form.MDEVCTL, {"mig": variable("bool", False)}, CARD, "mdevctl cannot set mig to on; a new device has off."),
        (
            Form.QEMU,
            FEATURES,
            CARD,
            "QEMU has no option for virtio-spec.org/net: it is made on the host, behind another device.",
        ),
        (
            Form.QEMU,
            FEATURES,
            Made("x", is_part=True),
            "QEMU has no option for virtio-spec.org/net: it is made on the host, behind another device.",
        ),
    ],
)
def test_what_a_program_cannot_make_is_said(form: Form, variables: dict[str, Any], made: Made, message: str) -> None:
    configuration: dict[str, Value] = {name: 8 if name == "rings" else True for name in variables if name not in "mac"}
    configuration |= {name: stated["init_value"] for name, stated in FEATURES.items() if name in configuration}
    with pytest.raises(UnrenderableError) as raised:
        on_unit(form, configuration, variables, made)
    assert str(raised.value) == message
