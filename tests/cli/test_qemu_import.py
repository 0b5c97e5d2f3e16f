"""Two real QEMU releases, imported through the running service, and asked about."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.cli.client import Registry
from app.cli.qemu import publication
from app.cli.qemu.capture import Capture, CaptureError, Property
from app.cli.qemu.properties import is_unset_marker, kind_of, scope_of
from app.cli.qemu.publication import Published
from app.cli.qemu.release import Known, QemuRelease
from app.client import RegistryError
from app.hypervisor.facts import decided_by_probe, is_never_migratable
from tests.cli.conftest import DATA, RELEASE, client_of
from tests.conftest import copied_database, fresh_database, make_app
from tests.counts import full

OLD, NEW = RELEASE["7.2"], RELEASE["10.0"]
IMPLEMENTATION = OLD.partition("@")[0]
OVERRIDE = "the old machine types are gone, and qxl with them"
# Of the 61 versioned machine types of the newer release.
MACHINES = full(61, short=6)
# An import takes many seconds; what it sends is stored on both databases by other tests, too.
DATABASES = ["sqlite", "postgresql"][: full(2, short=1)]

pytestmark = pytest.mark.long


@cache
def capture(version: str) -> Capture:
    """Return a capture, which no test changes."""
    return Capture.load(DATA / f"qemu-{version}.json.gz")


def publish(api: Registry, version: str, override: str | None = "upstream's decision") -> Published:
    taken = capture(version)
    return publication.publish(api, taken, RELEASE[version], lambda *_: None, override=override)


@contextmanager
def registry_on(url: str) -> Iterator[Registry]:
    """Yield the registry of a database, as the commands talk to it."""
    with TestClient(make_app(url)) as service, client_of(service) as api:
        yield api


@dataclass(frozen=True)
class Imports:
    """Databases that are to be copied, and what the imports into them answered.

    old: the database with the older release alone. both: the database with both, the older one imported first.
    refused: how the newer release was refused before it was published with an override.
    """

    old: str
    both: str
    first: Published
    refused: RegistryError
    second: Published


def send_without_override_first(api: Registry) -> list[RegistryError]:
    """Send each release that has an override without it first; return the errors. To make its document takes longer."""
    put, errors = api.put, list[RegistryError]()

    def refused_first(path: str, document: Mapping[str, Any], *, override: str | None = None, **options: Any) -> Any:
        if override is not None:
            with pytest.raises(RegistryError, match="evolution-gate") as refused:
                put(path, document, **options)
            errors.append(refused.value)
        return put(path, document, override=override, **options)

    api.put = refused_first  # type: ignore[method-assign]
    return errors


@pytest.fixture(scope="module", params=DATABASES)
def imports(request: pytest.FixtureRequest) -> Iterator[Imports]:
    """Yield the databases with the captures: an import takes seconds, a copy of its database takes less than one."""
    with fresh_database(request.param, request) as old:
        with registry_on(old) as api:
            first = publish(api, "7.2")
        with copied_database(old, request) as both:
            with registry_on(both) as api:
                refusals = send_without_override_first(api)
                second = publish(api, "10.0", override=OVERRIDE)
            yield Imports(old, both, first, refusals[0], second)


@pytest.fixture(scope="module")
def qemu(imports: Imports, request: pytest.FixtureRequest) -> Iterator[Registry]:
    """Yield a registry with both releases; its tests only read."""
    with copied_database(imports.both, request) as url, registry_on(url) as api:
        yield api


def ask(api: Registry, devices: list[dict[str, Any]], destination: str, **more: Any) -> list[Any]:
    question = {"devices": devices, "destinations": [{"releases": [destination]}], "detail": "full", **more}
    answered: list[Any] = api.post("/compatibility", question)["results"][0]["devices"]
    return answered


VHOST_SCSI_TYPES = ("vhost-scsi", "vhost-scsi-pci", "vhost-scsi-pci-non-transitional", "vhost-scsi-pci-transitional")


def test_both_captures_are_imported_and_again_nothing_is_added(
    imports: Imports, request: pytest.FixtureRequest
) -> None:
    first = imports.first
    assert (first.models, first.profiles, first.differences) == (314, 55, [])
    # What a block forbids by default is in the profiles: a device can set it otherwise.
    blocked = {(each["model"], problem["variable"]) for each in first.not_accepted for problem in each["problems"]}
    assert blocked == {
        ("qemu.org/ivshmem-doorbell", "master"),
        ("qemu.org/ivshmem-plain", "master"),
        ("qemu.org/vfio-pci", "x-enable-migration"),
        ("qemu.org/vfio-pci-nohotplug", "x-enable-migration"),
        *((f"qemu.org/{name}", "migratable") for name in VHOST_SCSI_TYPES),
    }
    second = imports.second
    assert (second.models, second.profiles) == (341, 61)
    grouped = {(variable, was, now) for variable, was, now, *_ in publication.grouped(second.differences)}
    assert grouped == {("streams", "false", "true"), ("events", "3", "7")}
    made = {(name, entry["profile"]) for entry in second.answer["makes_otherwise"] for name in entry["values"]}
    assert {name for name, _ in made} == {"streams", "events"}
    assert second.answer["previous"] == OLD
    # QEMU 10.0 dropped the machine types before 2.4.
    assert set(second.answer["no_longer_listed"]) == {
        *(f"qemu.org/pc-i440fx-1.{minor}" for minor in (4, 5, 6, 7)),
        *(f"qemu.org/pc-i440fx-2.{minor}" for minor in (0, 1, 2, 3)),
    }
    refused = {
        (problem["code"], problem.get("variable")) for each in second.not_accepted for problem in each["problems"]
    }
    blocked = {("not-migratable", "master"), ("not-migratable", "migratable")}
    assert refused == {("model-not-supported", None), ("not-migratable", None), *blocked}
    with copied_database(imports.both, request) as url, registry_on(url) as api:
        for version, release in RELEASE.items():
            machines = [machine.name for machine in capture(version).startable_machines][-MACHINES:]
            again = publication.publish(api, capture(version).selected(machines, []), release, lambda *_: None)
            assert not any(again.added.values())


def test_qemu_10_does_not_give_all_that_qemu_7_gave(imports: Imports, qemu: Registry) -> None:
    """What the evolution gate finds between the releases, and why it is so."""
    refused = imports.refused
    assert refused.problem is not None
    broken: dict[tuple[str, str, str | None], set[str]] = {}
    for each in refused.problem["broken"]:
        assert (each["accepted_by"], each["refused_by"]) == (OLD, NEW)
        for problem in each["problems"]:
            key = (each["model"].removeprefix("qemu.org/"), problem["code"], problem.get("variable"))
            broken.setdefault(key, set()).add(each["profile"].removeprefix("qemu.org/"))
    every = {machine.name for machine in capture("7.2").machines if machine.name in capture("7.2").effective}
    # QEMU 10.0 has no machine type before pc-i440fx-2.4: what only those needed off was made constant in 9.1.
    until_1_6 = {"pc-i440fx-1.4", "pc-i440fx-1.5", "pc-i440fx-1.6"}
    until_2_0 = {*until_1_6, "pc-i440fx-1.7", "pc-i440fx-2.0"}
    expected: dict[tuple[str, str, str | None], set[str]] = {
        # The build has no SPICE any more.
        ("qxl", "model-not-supported", None): every,
        ("qxl-vga", "model-not-supported", None): every,
        # These do not start alone, so 7.2 is known to have them only under the machine types of its own version.
        **{(device, "model-not-supported", None): {"pc-i440fx-7.2", "pc-q35-7.2"} for device in GONE_PARTS},
        # Loading its state ends QEMU 10.0.
        ("isa-vga", "not-migratable", None): {"pc-i440fx-7.2", "pc-q35-7.2"},
        ("nec-usb-xhci", "cannot-be-off", "force-pcie-endcap"): until_2_0,
        ("nec-usb-xhci", "cannot-be-off", "superspeed-ports-first"): until_2_0,
        ("e1000", "cannot-be-off", "mitigation"): until_1_6,
    }
    assert broken == expected
    passed = imports.second
    assert len(passed.overridden) == len(refused.problem["broken"]) == refused.problem["broken_count"]
    (override,) = qemu.get(f"/releases/{NEW}")["overrides"]
    assert override["reason"] == OVERRIDE
    assert len(override["broken"]) == len(passed.overridden)


# The few real exceptions between 7.2 and 10.0, each with its reason.
GONE = {"qxl": "removed from the build", "qxl-vga": "removed from the build"}
NEW_IN_10 = {"igb", "uefi-vars-x64", "ufs", "virtio-multitouch-pci"}
GONE_PARTS = {
    *("PIIX3-xen", "acpi-ged-x86", "cpu-cluster", "serial-mm", "sga", "sysbus-ahci"),
}
RENAMED_SWITCH = {"cxl-downstream", "cxl-rp", "ioh3420", "pcie-root-port", "xio3130-downstream"}


def test_devices_move_between_the_releases_under_every_machine_type_that_both_have(qemu: Registry) -> None:
    taken = {OLD: capture("7.2"), NEW: capture("10.0")}
    machines = taken[OLD].effective.keys() & taken[NEW].effective.keys()
    assert len(machines) == 47
    asked = 0
    refused: dict[tuple[str, str], set[tuple[str, str, str, str | None]]] = {}
    for (source, destination), machine in product(((OLD, NEW), (NEW, OLD)), sorted(machines)):
        devices = [
            {"id": device, "model": f"qemu.org/{device}", "release": source, "profile": f"qemu.org/{machine}"}
            for device in taken[source].effective[machine]
            if not any(is_never_migratable(device, each.version) for each in taken.values())
        ]
        asked += len(devices)
        for answer in ask(qemu, devices, destination):
            for problem in answer["problems"]:
                found = (answer["id"], machine, problem["code"], problem.get("variable"))
                refused.setdefault((source, destination), set()).add(found)
    assert asked > 9_000
    gone = {*product(GONE, machines, ["model-not-supported"], [None])}
    # Recorded from real migrations: nothing that could be compared foretells it.
    broken = {entry for entry in refused[OLD, NEW] - gone if entry[2] == "known-broken"}
    assert refused[OLD, NEW] == gone | broken
    assert {device for device, *_ in broken} == {"am53c974", "dc390"}
    assert {each for each in refused[NEW, OLD] if each[0] not in NEW_IN_10} == set()


@pytest.mark.parametrize("device", ["virtio-blk-pci", "scsi-hd", "vhost-vsock-pci", "usb-storage"])
def test_devices_that_do_not_start_alone_move_too(qemu: Registry, device: str) -> None:
    profile = "qemu.org/pc-q35-7.2"
    for source, destination in ((OLD, NEW), (NEW, OLD)):
        asked = {"model": f"qemu.org/{device}", "release": source, "profile": profile}
        (answer,) = ask(qemu, [asked], destination)
        assert answer["compatible"], answer["problems"]


def test_a_network_card_goes_to_the_newer_release_with_its_complete_configuration(qemu: Registry) -> None:
    card = {
        "model": "qemu.org/virtio-net-pci",
        "release": OLD,
        "profile": "qemu.org/pc-q35-7.2",
        "values": {"mq": "on"},
    }
    (answer,) = ask(qemu, [card], NEW, policy="strict")
    assert answer["compatible"]
    # A capture does not tell what can be migrated.
    assert [warning["code"] for warning in answer["warnings"]] == ["migratability-unknown"]
    configuration = answer["configuration"]
    variables = qemu.get("/variable-sets", model="qemu.org/virtio-net-pci", version="10.0.13")["items"][0]["variables"]
    instance = {name for name, variable in variables.items() if variable["scope"] == "instance"}
    assert configuration.keys() | set(answer["carry_over"]) == variables.keys()
    assert set(answer["carry_over"]) == instance
    assert (configuration["mq"], configuration["guest_uso4"], configuration["x-pcie-ext-tag"]) == (True, False, False)


def test_what_only_the_newer_release_has_does_not_go_back_while_it_is_on(qemu: Registry) -> None:
    card: dict[str, Any] = {"model": "qemu.org/virtio-net-pci", "release": NEW, "profile": "qemu.org/pc-q35-7.2"}
    (off,) = ask(qemu, [card], OLD)
    assert off["compatible"]
    (on,) = ask(qemu, [{**card, "values": {"guest_uso4": "on"}}], OLD)
    (problem,) = on["problems"]
    assert (problem["code"], problem["variable"], problem["value"]) == ("variable-not-supported", "guest_uso4", True)


def test_a_release_without_the_machine_type_refuses_it_under_strict(qemu: Registry) -> None:
    card = {"model": "qemu.org/virtio-net-pci", "release": OLD, "profile": "qemu.org/pc-i440fx-2.3"}
    (strict,) = ask(qemu, [card], NEW)
    assert [problem["code"] for problem in strict["problems"]] == ["profile-not-listed"]
    (permissive,) = ask(qemu, [card], NEW, policy="permissive")
    assert permissive["compatible"]


def test_a_property_that_was_dropped_is_kept_as_what_it_was_last(qemu: Registry) -> None:
    (kept,) = qemu.get("/variable-sets", model="qemu.org/e1000", version="10.0.13")["items"]
    variable = kept["variables"]["mitigation"]
    assert (variable["settable"], variable["init_value"], variable["allowed_values"]) == (False, True, [True])


def test_a_property_that_was_renamed_stands_for_what_it_was(qemu: Registry) -> None:
    for device in RENAMED_SWITCH:
        (kept,) = qemu.get("/variable-sets", model=f"qemu.org/{device}", version="10.0.13")["items"]
        assert "x-native-hotplug" not in kept["variables"]
        renamed = kept["variables"]["x-do-not-expose-native-hotplug-cap"]
        assert renamed["stands_for"] == {"variable": "x-native-hotplug", "inverted": True}
        # QEMU does not save the registers of CXL ports.
        for source, destination in product((OLD, NEW), repeat=2) if not device.startswith("cxl-") else ():
            port = {"model": f"qemu.org/{device}", "release": source, "profile": "qemu.org/pc-q35-6.1"}
            (answer,) = ask(qemu, [port], destination)
            assert answer["compatible"], answer["problems"]


def test_models_are_device_types_and_no_cpus_and_wiring_is_left_out(qemu: Registry) -> None:
    models = {item["model"] for item in qemu.items("/models", vendor="qemu.org")}
    assert not any(model.endswith("-cpu") for model in models)
    card = qemu.get("/models/qemu.org/virtio-net-pci")["variables"]
    assert card["addr"] == {"type": "str"}
    assert card["rombar"]["off_value"] == 1
    assert not {"id", "bus", "virtio-backend", "ebpf-rss-fds"} & card.keys()


def is_decided_later(variable: Mapping[str, Any], name: str, value: Any) -> bool:
    """Return whether the host or the device decides a value when the device is made."""
    return bool(variable["resolved_by_host"]) or (value is not None and is_unset_marker(name, value))


@pytest.mark.parametrize("version", ["7.2", "10.0"])
def test_profiles_are_what_machine_types_really_make_of_devices(qemu: Registry, version: str) -> None:
    """At least 999 of 1,000 values, as the QEMU that published the entry reads them."""
    taken = capture(version)
    published_before = capture("7.2").effective if version == "10.0" else {}
    off = {each["model"]: qemu.get(f"/models/{each['model']}")["variables"] for each in qemu.items("/models")}
    scopes = {each["model"]: each["variables"] for each in qemu.items("/variable-sets", implementation=IMPLEMENTATION)}
    differing, compared = set(), 0
    for machine, devices in taken.effective.items():
        values = qemu.get(f"/profiles/qemu.org/{machine}", resolved=True)["values"]
        for device, live in devices.items():
            if device in published_before.get(machine, {}):
                continue
            model = f"qemu.org/{device}"
            for name, told in live.items():
                kind = kind_of(taken.properties[device][name])
                stated = scopes[model].get(name)
                if kind is None or told is None or stated is None or stated["scope"] != "interface":
                    continue
                if is_never_migratable(device, taken.version) or is_decided_later(stated, name, kind.value(told)):
                    continue
                compared += 1
                resolved = values[model].get(name, off[model][name].get("off_value"))
                if resolved != kind.in_type(stated["type"]).value(told):
                    differing.add((machine, device, name))
    assert compared > {"7.2": 65_000, "10.0": 20_000}[version]
    assert len(differing) <= compared / 1000, sorted(differing)[:10]


def test_a_release_states_what_it_makes_otherwise_than_the_machine_type_that_is_published(qemu: Registry) -> None:
    """What `render` leaves out is what QEMU really makes by itself, under every machine type."""
    taken = capture("10.0")
    own = qemu.get(f"/releases/{NEW}", own_values=True)["own_values"]
    sets = {each["model"]: each["variables"] for each in qemu.items("/variable-sets", version="10.0.13")}
    off = {model: qemu.get(f"/models/{model}")["variables"] for model in sets}
    differing, compared, stated = set(), 0, 0
    for machine, devices in taken.effective.items():
        values = qemu.get(f"/profiles/qemu.org/{machine}", resolved=True)["values"]
        for device, live in devices.items():
            model = f"qemu.org/{device}"
            otherwise = own.get(f"qemu.org/{machine}", {}).get(model, {})
            stated += len(otherwise)
            known = {**values.get(model, {}), **otherwise}
            for name, told in live.items():
                kind = kind_of(taken.properties[device][name])
                variable = sets[model].get(name)
                if kind is None or told is None or variable is None or variable["scope"] != "interface":
                    continue
                if is_decided_later(variable, name, kind.value(told)) or model not in values:
                    continue
                compared += 1
                real = kind.in_type(variable["type"]).value(told)
                standing = variable.get("stands_for", {"variable": name, "inverted": False})
                if standing["inverted"]:
                    real = not real
                if known.get(standing["variable"], off[model][standing["variable"]].get("off_value")) != real:
                    differing.add((machine, device, name))
    assert compared > 95_000
    assert not differing, sorted(differing)[:10]
    assert stated == 47 + 47
    # -1 is what 10.0 calls 1 where nothing is given: the same hardware.
    assert "qemu.org/virtio-net-pci" not in own["qemu.org/pc-q35-7.2"]
    assert own["qemu.org/pc-q35-7.2"]["qemu.org/nec-usb-xhci"] == {"streams": True}


def test_devices_differ_between_machine_types_exactly_where_their_live_values_do(qemu: Registry) -> None:
    """`diff` of two profiles shows a difference wherever the machine types really make another device."""
    taken = capture("7.2")
    pairs = [("pc-q35-7.2", "pc-q35-5.1"), ("pc-q35-6.1", "pc-q35-6.2"), ("pc-i440fx-7.2", "pc-i440fx-2.4")]
    for one, other in pairs:
        found = qemu.get("/diff", **{"from": f"qemu.org/{one}", "to": f"qemu.org/{other}"})["models"]
        shown = {device for device in taken.effective[one] if f"qemu.org/{device}" in found}
        real = {
            device
            for device, values in taken.effective[one].items()
            for name, value in values.items()
            if (kind := kind_of(taken.properties[device][name])) is not None
            and scope_of(name, kind) == "interface"
            and value != taken.effective[other].get(device, {}).get(name)
            and value is not None
            and not decided_by_probe(name)
            and not is_never_migratable(device, taken.version)
        }
        assert shown == real, (one, other)
        assert real


def test_live_values_and_compat_properties_agree_but_for_unset_markers() -> None:
    taken = capture("10.0")
    told = QemuRelease(Capture(taken.version, taken.machines, taken.types, taken.properties), Known())
    machines = {machine.name: machine for machine in taken.machines}
    differing: set[tuple[str, str]] = set()
    compared = 0
    for name, devices in taken.effective.items():
        for device, values in devices.items():
            for variable, live in values.items():
                kind = told.kinds[device].get(variable)
                if kind is None or live is None or told.variables[device][variable].scope != "interface":
                    continue
                compared += 1
                value = told.value(machines[name], device, variable)
                if value != kind.value(live) and not (value is not None and is_unset_marker(variable, value)):
                    differing.add((device, variable))
    assert compared > 100_000
    modern = {
        "virtio-gpu-pci",
        "virtio-iommu-pci",
        "virtio-keyboard-pci",
        "virtio-mouse-pci",
        "virtio-multitouch-pci",
        "virtio-tablet-pci",
        "virtio-vga",
    }
    assert differing == {
        # A virtual function's card says of itself that it has more than one function.
        ("igb", "multifunction"),
        # These devices exist as modern ones alone, whatever an old machine type asks of all virtio devices.
        *product(modern, ["disable-legacy", "disable-modern"]),
        # pc-q35-6.1 turned these in the code of the machine, not by compat properties.
        *product(RENAMED_SWITCH, ["x-do-not-expose-native-hotplug-cap"]),
    }


def test_a_profile_holds_only_what_is_not_off(qemu: Registry) -> None:
    off = {name: each.get("off_value") for name, each in qemu.get("/models/qemu.org/e1000")["variables"].items()}
    for machine in ("pc-q35-7.2", "pc-i440fx-10.0"):
        values = qemu.get(f"/profiles/qemu.org/{machine}", resolved=True)["values"]["qemu.org/e1000"]
        assert values
        assert all(off[name] is None or value != off[name] for name, value in values.items())


def test_a_part_of_a_capture_can_be_imported_and_the_rest_later(api: Registry) -> None:
    first = ["pc-q35-10.0", "pc-q35-2.4"]
    part = capture("10.0").selected(first, ["e1000", "virtio-net-pci"])
    others = [machine.name for machine in capture("10.0").startable_machines if machine.name not in first]
    later = capture("10.0").selected([*first, *others[: MACHINES - len(first)]], [])
    api.put("/vendors/qemu.org", {})
    assert publication.publish(api, part, NEW, lambda *_: None, dry_run=True).added["releases"] == 1
    assert api.find(f"/releases/{NEW}") is None
    some = publication.publish(api, part, NEW, lambda *_: None)
    assert (some.models, some.profiles, some.added["profile_models"]) == (2, 2, 4)
    rest = publication.publish(api, later, NEW, lambda *_: None)
    assert (rest.added["release_models"], rest.added["profiles"]) == (339, MACHINES - 2)
    with pytest.raises(CaptureError, match="no machine type nonsense"):
        capture("10.0").selected(["nonsense"], [])


def test_a_property_whose_type_changes_keeps_the_type_that_it_has(
    imports: Imports, request: pytest.FixtureRequest
) -> None:
    taken = capture("10.0")
    card = {
        **taken.properties["virtio-net-pci"],
        "mq": Property("mq", "OnOffAuto", "auto"),
        "speed": Property("speed", "str", "10"),
    }
    changed = replace(taken, properties={"virtio-net-pci": card}, effective={})
    with copied_database(imports.old, request) as url, registry_on(url) as api:
        published = publication.publish(api, changed, NEW, lambda *_: None, override="a part alone")
        assert {
            (difference.variable, difference.published, difference.captured)
            for difference in published.differences
            if difference.source == "its type"
        } == {
            ("mq", "bool", "str"),
            ("speed", "int", "str"),
        }
        (kept,) = api.get("/variable-sets", model="qemu.org/virtio-net-pci", version="10.0.13")["items"]
        variables = {name: kept["variables"][name] for name in ("mq", "speed")}
        assert {name: (each["type"], each["init_value"], each["settable"]) for name, each in variables.items()} == {
            "mq": ("bool", False, True),
            "speed": ("int", 10, True),
        }


def test_what_does_not_start_alone_has_markers_but_for_those_that_an_older_release_cannot_take(qemu: Registry) -> None:
    off = qemu.get("/models/qemu.org/virtio-blk-pci")["variables"]
    assert off["romsize"]["off_value"] == 2**32 - 1
    # 10.0 says -1 where 7.2, which cannot be told so, said 1: what both can take is the off value.
    assert off["rombar"]["off_value"] == 1
