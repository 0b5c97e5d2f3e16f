"""Which names are valid."""

import pytest

from app.domain.values.name import (
    InvalidNameError,
    ReleaseName,
    name,
    newest_first,
    variable_name,
    vendor_name,
    version,
    version_order,
)


@pytest.mark.parametrize("text", ["vendor-a.com/nic", "qemu.org/pci/10ec/8139", "vendor-a.com/größe", "a.b/x:y_z"])
def test_valid_names(text: str) -> None:
    assert name(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "vendor-a.com",
        "vendor-a.com/",
        "vendor-a.com//nic",
        "vendor-a.com/./nic",
        "vendor-a.com/../nic",
        "Vendor-A.com/nic",
        "nodot/nic",
        "vendor-a.com/my nic",
        "vendor-a.com/nic\u00a0x",
        "vendor-a.com/nic\n",
        "vendor-a.com/nic\u202e",
        "vendor-a.com/nic\ud800",
        "vendor-a.com/gro\u0308sse",
        "vendor-a.com/a@b",
        "vendor-a.com/a=b",
        "vendor-a.com/a?b",
        "vendor-a.com/a#b",
        "vendor-a.com/a%b",
        "vendor-a.com/" + "x" * 243,
    ],
)
def test_invalid_names(text: str) -> None:
    with pytest.raises(InvalidNameError):
        name(text)


@pytest.mark.parametrize("text", ["-a.com", "a..com", "a.com.", "a_b.com", "com", "a" * 64 + ".com"])
def test_invalid_vendors(text: str) -> None:
    with pytest.raises(InvalidNameError):
        vendor_name(text)


@pytest.mark.parametrize("text", ["1:10.0.13+ds-0", "7.2.22", "2024~rc1", "a", "A" * 64])
def test_valid_versions(text: str) -> None:
    assert version(text) == text


@pytest.mark.parametrize("text", ["", ".1", "1 2", "1@2", "A" * 65, "1\n"])
def test_invalid_versions(text: str) -> None:
    with pytest.raises(InvalidNameError):
        version(text)


@pytest.mark.parametrize("text", ["", "a=b", "a/b", "a b", "a\tb", "x" * 129])
def test_invalid_variable_names(text: str) -> None:
    with pytest.raises(InvalidNameError):
        variable_name(text)


def test_a_release_is_an_implementation_and_a_version() -> None:
    release = ReleaseName.parse("debian.org/qemu-system-x86_64@1:10.0.13+ds-0")
    assert (release.implementation, release.version, release.vendor) == (
        "debian.org/qemu-system-x86_64",
        "1:10.0.13+ds-0",
        "debian.org",
    )


@pytest.mark.parametrize("text", ["vendor-a.com/fw", "vendor-a.com/fw@", "@1", "vendor-a.com/fw@1@2"])
def test_invalid_releases(text: str) -> None:
    with pytest.raises(InvalidNameError):
        ReleaseName.parse(text)


def test_versions_are_in_the_order_of_their_numbers() -> None:
    ordered = ["1.9", "1.9+ds", "1.10", "1.10.1", "2", "10.0"]
    assert sorted(set(ordered), key=version_order) == ordered


def test_names_that_differ_in_a_number_have_the_higher_one_first() -> None:
    ordered = ["a.b/pc", "a.b/pc-i440fx-2.10", "a.b/pc-q35-10.0.1", "a.b/pc-q35-10.0", "a.b/pc-q35-9.2", "a.b/x"]
    assert sorted(set(ordered), key=newest_first) == ordered
