"""The trait of a profile: what Placement accepts, and never that of another profile."""

import re
import string
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.adapters import trait
from app.adapters.trait import MAX_LENGTH, PREFIX, by_trait, read_back, trait_of
from app.domain.values.name import is_name

_TRAIT = re.compile("CUSTOM_[A-Z0-9_]{1,248}")


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        ("qemu.org/pc-q35-7.2", "CUSTOM_DPR_QEMU_ORG_PC_Q35_7_2"),
        ("nvidia.com/cx7-vf-2024", "CUSTOM_DPR_NVIDIA_COM_CX7_VF_2024"),
        # What cannot be read back has a digest: a hyphen in the vendor, a slash, an upper-case letter, a dot after a
        # letter, a hyphen between numbers.
        ("vendor-a.com/nic-8", "CUSTOM_DPR_VENDOR_A_COM_NIC_8__3ADC8C69D17883F5"),
        ("qemu.org/s390x/ccw-9.0", "CUSTOM_DPR_QEMU_ORG_S390X_CCW_9_0__EF35A9FB007E65C1"),
        ("nvidia.com/gfx-4GB", "CUSTOM_DPR_NVIDIA_COM_GFX_4GB__625CCD7E497F29DA"),
        ("redhat.com/pc-q35-rhel9.2.0", "CUSTOM_DPR_REDHAT_COM_PC_Q35_RHEL9_2_0__C84E659D12642643"),
        ("qemu.org/pc-2-1", "CUSTOM_DPR_QEMU_ORG_PC_2_1__965189F0E849CFD6"),
    ],
)
def test_a_trait_resembles_its_profile(profile: str, expected: str) -> None:
    assert trait_of(profile) == expected


# Names that differ little, and names of all kinds.
_vendors = st.sampled_from(["a.b", "a-b.c", "a.b-c", "a.b.c", "a-b-c.d", "ab.c", "1.2"])
_few = st.text("aA1-._", min_size=1, max_size=4)
_any = st.text(st.characters(exclude_categories=("C", "Z"), exclude_characters="@=?#%/"), min_size=1, max_size=80)
_paths = st.lists(st.one_of(_few, _few, _any), min_size=1, max_size=3).map("/".join)
_names = st.builds(lambda vendor, path: normalize("NFC", f"{vendor}/{path}"), _vendors, _paths).filter(is_name)


@given(st.lists(_names, min_size=2, max_size=40, unique=True))
def test_two_profiles_never_have_one_trait(profiles: list[str]) -> None:
    traits = [trait_of(profile) for profile in profiles]
    assert len(set(traits)) == len(profiles)
    assert all(_TRAIT.fullmatch(name) for name in traits)
    single, shared = by_trait(profiles)
    assert single == dict(zip(traits, profiles, strict=True))
    assert not shared


@given(_names)
def test_what_a_trait_is_read_back_as_is_its_profile(profile: str) -> None:
    assert read_back(trait_of(profile)) in {profile, None}


@pytest.mark.parametrize("length", [200, 243, 244, 245, 255])
def test_long_names_have_traits_that_differ(length: int) -> None:
    names = [f"a.org/{letter * (length - 7)}{end}" for letter in "ab" for end in string.ascii_lowercase]
    traits = {trait_of(name) for name in names}
    assert len(traits) == len(names)
    assert {len(name) <= MAX_LENGTH for name in traits} == {True}


@pytest.mark.parametrize("name", ["CUSTOM_FOO", "HW_CPU_X86_AVX", f"{PREFIX}A__B"])
def test_other_traits_are_of_no_profile(name: str) -> None:
    assert read_back(name) is None


def test_profiles_that_share_a_trait_have_to_do_without(monkeypatch: pytest.MonkeyPatch) -> None:
    # Nobody knows two names whose digests begin with the same 16 digits; of 0 digits all do.
    monkeypatch.setattr(trait, "_DIGITS", 0)
    single, shared = by_trait(["a.org/x", "a-b.org/x", "a.b.org/x"])
    assert single == {"CUSTOM_DPR_A_ORG_X": "a.org/x"}
    assert shared == {"CUSTOM_DPR_A_B_ORG_X__": ["a-b.org/x", "a.b.org/x"]}
