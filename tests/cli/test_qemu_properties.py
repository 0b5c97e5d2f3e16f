"""QEMU's properties become variables."""

import pytest

from app.cli.qemu.capture import Property
from app.cli.qemu.properties import Kind, Value, is_unset_marker, kind_of, scope_of


@pytest.mark.parametrize(
    ("type_name", "kind"),
    [
        ("bool", Kind("bool")),
        ("uint8", Kind("int", (0, 255))),
        ("uint4", Kind("int", (0, 15))),
        ("int32", Kind("int", (-(2**31), 2**31 - 1))),
        ("uint64", Kind("int", (0, 2**64 - 1))),
        ("size", Kind("int", (0, 2**64 - 1))),
        ("int", Kind("int", (-(2**63), 2**63 - 1))),
        ("str", Kind("str")),
        ("string", Kind("str")),
        ("OnOffAuto", Kind("str", members=("auto", "on", "off"))),
        ("SomeEnumOfTheFuture", Kind("str")),
        ("link<iothread>", None),
        ("child<virtio-net-device>", None),
        ("list", None),
        ("strList", None),
        ("IOThreadVirtQueueMappingList", None),
        ("guest statistics", None),
    ],
)
def test_the_type_of_a_property_determines_its_kind(type_name: str, kind: Kind | None) -> None:
    assert kind_of(Property("x", type_name)) == kind


def test_a_type_that_differs_between_releases_becomes_the_wider_type() -> None:
    assert kind_of(Property("addr", "int32")) == kind_of(Property("addr", "str")) == Kind("str")
    assert kind_of(Property("addr", "uint64")) == Kind("int", (0, 2**64 - 1))
    assert kind_of(Property("id", "str")) is None
    assert kind_of(Property("bus", "str")) is None


@pytest.mark.parametrize(
    ("name", "type_name", "scope"),
    [
        *[(name, "str", "instance") for name in ("mac", "addr", "serial", "failover_pair_id", "busnr", "device_id")],
        *[(name, "int32", "instance") for name in ("bootindex", "chassis", "port", "slot")],
        *[(name, "str", "backend") for name in ("netdev", "drive", "chardev", "chardev3", "audiodev", "display")],
        *[(name, "uint8", "interface") for name in ("device_id", "vendor", "num_queues")],
        ("display", "OnOffAuto", "interface"),
        ("mq", "bool", "interface"),
        ("romfile", "str", "interface"),
    ],
)
def test_the_name_and_type_of_a_property_determine_its_scope(name: str, type_name: str, scope: str) -> None:
    kind = kind_of(Property(name, type_name))
    assert kind is not None
    assert scope_of(name, kind) == scope


@pytest.mark.parametrize(
    ("type_name", "raw", "value"),
    [
        ("bool", "on", True),
        ("bool", "false", False),
        ("bool", None, False),
        ("uint32", "0x5b", 91),
        ("uint32", None, 0),
        ("size", "4K", 4096),
        ("size", "0x1E", 30),
        ("str", -1, "-1"),
        ("str", None, ""),
        ("OnOffAuto", True, "on"),
    ],
)
def test_qemus_values_become_values_of_the_variables_type(type_name: str, raw: object, value: Value) -> None:
    kind = kind_of(Property("x", type_name))
    assert kind is not None
    assert kind.value(raw) == value
    assert type(kind.value(raw)) is type(value)


def test_unset_markers_are_recognized() -> None:
    assert is_unset_marker("vectors", 2**32 - 1)
    assert is_unset_marker("disable-legacy", "auto")
    assert is_unset_marker("rombar", -1)
    assert is_unset_marker("xres", 0)
    assert not is_unset_marker("max_outputs", 0)
