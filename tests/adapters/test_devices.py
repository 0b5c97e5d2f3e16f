"""Key/value pairs describe devices; what is misspelt is a fault, never a device less."""

import pytest

from app.adapters.devices import DevicesError, read_devices, read_words
from app.adapters.settings import AdapterSettings
from app.settings import ClientSettings, unknown_variables


def test_properties_are_devices_as_a_question_has_them() -> None:
    properties = {
        "hw:cpu_policy": "dedicated",
        "dpr:vf0.model": "qemu.org/vfio-pci",
        "dpr:vf0.release": "qemu.org/qemu-system-x86_64@10.0.13",
        "dpr:vf0.values.x-no-mmap": "off",
        "dpr:vf0.values.a.b": "1",
        "dpr:card.model": "nvidia.com/connectx-7-vf",
        "dpr:card.profile": "nvidia.com/p",
        "dpr:card.part_of": "vf0",
        "dpr:card.role": "host-device",
        "dpr:card.complete": "True",
    }
    assert read_devices(properties) == [
        {
            "id": "card",
            "model": "nvidia.com/connectx-7-vf",
            "profile": "nvidia.com/p",
            "part_of": "vf0",
            "role": "host-device",
            "complete": True,
        },
        {
            "id": "vf0",
            "model": "qemu.org/vfio-pci",
            "release": "qemu.org/qemu-system-x86_64@10.0.13",
            "values": {"x-no-mmap": "off", "a.b": "1"},
        },
    ]
    assert read_devices({"hw:cpu_policy": "dedicated"}) == []


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("dpr:nic0.modle", "x", 'dpr:nic0.modle is unknown (did you mean "model"?)'),
        ("dpr:nic0", "x", "dpr:nic0 is unknown"),
        ("dpr:nic0.values", "x", "dpr:nic0.values is unknown"),
        ("dpr:nic0.values.", "x", "dpr:nic0.values. is unknown"),
        ("dpr:nic0.host", "x", "dpr:nic0.host is unknown"),
        ("dpr:.model", "x", "dpr:.model has no device id"),
        ("dpr:nic0.complete", "perhaps", 'dpr:nic0.complete must be true or false, not "perhaps"'),
        ("dpr:nic0.profile", "x", "dpr:nic0.model is missing"),
        ("dpr:", "x", "dpr: has no device id"),
    ],
)
def test_every_fault_is_named(key: str, value: str, message: str) -> None:
    with pytest.raises(DevicesError) as caught:
        read_devices({key: value, "dpr:nic1.typo": "x"})
    assert message in str(caught.value)
    assert "dpr:nic1.typo is unknown" in str(caught.value)


@pytest.mark.parametrize(
    ("key", "prefix"),
    [
        ("DPR:nic0.model", "dpr:"),
        ("Dpr:nic0.model", "dpr:"),
        ("dpr/nic0.model", "dpr:"),
        ("dpr.nic0.model", "dpr:"),
        (" dpr:nic0.model", "dpr:"),
        ("DPR/nic0.model", "dpr/"),
        ("DPR/devices", "dpr/"),
        ("dpr:nic0.model", "dpr/"),
        ("dpr.nic0.model", "dpr/"),
    ],
)
def test_a_key_in_another_spelling_is_a_fault(key: str, prefix: str) -> None:
    for others in ({}, {f"{prefix}nic1.model": "a.com/nic"}):
        with pytest.raises(DevicesError) as caught:
            read_devices({key: "a.com/nic", **others}, prefix)
        assert str(caught.value) == f"{key} must begin with {prefix}"
    assert read_devices({"dprx:nic0.model": "x", "x.dpr:nic0.model": "x", "dpr": "x"}, prefix) == []


def test_the_service_knows_the_settings_of_adapters() -> None:
    own = set(AdapterSettings.model_fields) - set(ClientSettings.model_fields)
    assert own
    assert not list(unknown_variables({f"REGISTRY_{name.upper()}": "1" for name in own}))
    assert [name for name, _ in unknown_variables({"REGISTRY_ADAPTER_X": "1"})] == ["REGISTRY_ADAPTER_X"]


def test_one_text_has_several_properties() -> None:
    text = "dpr:nic0.model=a.com/nic  dpr:nic0.values.note='two words'\ndpr:nic0.values.empty="
    assert read_words(text) == {
        "dpr:nic0.model": "a.com/nic",
        "dpr:nic0.values.note": "two words",
        "dpr:nic0.values.empty": "",
    }
    assert read_words(" ") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nic0.model=a.com/nic", "nic0.model=a.com/nic must be dpr:ID.model=vendor/model and so on"),
        ("dpr:nic0.model", "dpr:nic0.model must be dpr:ID.model=vendor/model and so on"),
        ("dpr:a.model=x dpr:a.model=y", "dpr:a.model is given twice"),
        ("dpr:a.model='x", "cannot be read: No closing quotation"),
    ],
)
def test_a_text_with_another_word_is_a_fault(text: str, message: str) -> None:
    with pytest.raises(DevicesError, match=message.replace("(", r"\(")):
        read_words(text)
