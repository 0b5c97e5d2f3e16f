"""What an orchestrator applies: exact arguments, whatever names and values say."""

from typing import Any

import pytest

from app.domain.document import Place
from app.domain.rendering import Form, UnrenderableError, own_values, rendered
from app.domain.value import Value
from app.domain.variable_set import VariableSet
from tests.domain.world import variable

QUEUES = variable("int", 4, 1, ["1-8"])


def stated(variables: dict[str, Any], model: str = "qemu.org/virtio-net-pci") -> VariableSet:
    """Return a variable set."""
    at = Place()
    read = VariableSet.read(model, {"variables": variables}, at)
    at.raise_faults()
    return read


def arguments(form: Form, configuration: dict[str, Value], variables: dict[str, Any], **more: Any) -> list[str]:
    """Return the arguments for a configuration on a release without machine types."""
    read = stated(variables)
    return rendered(form, configuration, read, own_values(read, {}, None) | more.get("own", {}))


def test_qemu_is_told_only_what_differs_from_its_own_values() -> None:
    variables = {"queues": QUEUES, "mq": variable("bool", True, False), "rom": variable("str", "efi.rom", "")}
    configuration: dict[str, Value] = {"queues": 4, "mq": False, "rom": ""}
    assert arguments(Form.QEMU, configuration, variables) == ["-device", "virtio-net-pci,mq=off,rom="]
    assert arguments(Form.VFIO_USER, configuration, variables) == ["--m-mq=off", "--m-queues=4", "--m-rom="]


def test_under_a_machine_type_the_values_are_the_profiles() -> None:
    read = stated({"queues": QUEUES, "mq": variable("bool", True, False), "mac": variable("str", "", scope="instance")})
    own = own_values(read, {"queues": 1, "mq": False}, {"queues": 8})
    assert own == {"queues": 8, "mq": False, "mac": ""}
    configuration: dict[str, Value] = {"queues": 8, "mq": True, "mac": "52:54:00:12:34:56"}
    assert rendered(Form.QEMU, configuration, read, own) == [
        "-device",
        "virtio-net-pci,mac=52:54:00:12:34:56,mq=on",
    ]


def test_an_unsettable_variable_is_never_rendered_and_a_backend_one_is_no_migration_parameter() -> None:
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
    """Return options as QEMU's opts_do_parse reads them: names end at = or comma, a doubled comma is one."""
    found: list[tuple[str, str]] = []
    while option:
        end = min((place for sign in "=," if (place := option.find(sign)) >= 0), default=len(option))
        if not found and option[end : end + 1] != "=":
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
        found.append((name, value))
    return found


@pytest.mark.parametrize("name", ["driver", "id", "bus", "help", "?", "a,b", ",driver"])
def test_a_name_that_qemu_would_take_for_something_else_is_refused(name: str) -> None:
    with pytest.raises(UnrenderableError):
        arguments(Form.QEMU, {name: "x"}, {name: variable("str", "")})
    assert arguments(Form.VFIO_USER, {name: "x"}, {name: variable("str", "")}) == [f"--m-{name}=x"]


@pytest.mark.parametrize("model", ["qemu.org/help", "qemu.org/?x", "qemu.org/{}", 'qemu.org/{"driver":"e1000"}'])
def test_a_model_that_qemu_would_take_for_something_else_is_refused(model: str) -> None:
    read = stated({}, model)
    if model == "qemu.org/?x":
        assert rendered(Form.QEMU, {}, read, {}) == ["-device", "?x"]
        return
    with pytest.raises(UnrenderableError):
        rendered(Form.QEMU, {}, read, {})


def test_a_comma_in_a_model_is_doubled() -> None:
    assert rendered(Form.QEMU, {}, stated({}, "vendor-a.com/a,b/c"), {}) == ["-device", "a,,b/c"]
