"""Arguments for an orchestrator: exact for all names and values, however hostile."""

from dataclasses import replace
from typing import Any

import pytest

from app.domain.fleet.rendering import CPU_MODEL, Form, UnrenderableError, rendered
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
