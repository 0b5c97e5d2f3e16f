"""The trait of a profile in Placement: two profiles never have the same one."""

import hashlib
import re
from collections.abc import Iterable, Mapping

# Placement: a custom trait is at most 255 characters A-Z, 0-9 and _, and begins with CUSTOM_.
PREFIX = "CUSTOM_DPR_"
MAX_LENGTH = 255
_NOT_ALLOWED = re.compile("[^A-Z0-9]")
# Between a shortened name and the digits of its digest. No trait that a name can be read back from has it.
_MARK = "__"
_DIGITS = 16


def trait_of(profile: str) -> str:
    """Return the trait of a profile: CUSTOM_DPR_QEMU_ORG_PC_Q35_7_2 of qemu.org/pc-q35-7.2.

    It depends on the name alone. Upper case, with _ in place of every other character. If the name cannot be read back
    from that (see read_back), or it is too long, 16 digits of the name's SHA-256 follow: CUSTOM_DPR_A_COM_X__9F86….
    """
    plain = PREFIX + _NOT_ALLOWED.sub("_", profile.upper())
    if len(plain) <= MAX_LENGTH and read_back(plain) == profile:
        return plain
    digest = hashlib.sha256(profile.encode()).hexdigest()[:_DIGITS].upper()
    return f"{plain[: MAX_LENGTH - len(_MARK) - _DIGITS]}{_MARK}{digest}"


def read_back(trait: str) -> str | None:
    """Return the only profile name that has a trait without a digest; None of other traits.

    In lower case; the first _ is the dot of the vendor, the second one the slash after it; of the others, one between
    two numbers is a dot (Q35_7_2 is q35-7.2), and all others are hyphens.
    """
    if not trait.startswith(PREFIX) or _MARK in trait:
        return None
    domain, _, rest = trait.removeprefix(PREFIX).lower().partition("_")
    top, _, path = rest.partition("_")
    first, *others = path.split("_")
    name, before = f"{domain}.{top}/{first}", first
    for part in others:
        name += f"{'.' if before.isdecimal() and part.isdecimal() else '-'}{part}"
        before = part
    return name


def by_trait(profiles: Iterable[str]) -> tuple[Mapping[str, str], Mapping[str, list[str]]]:
    """Return the profiles by their traits, and those that share a trait, which have to do without.

    Two names share one only if their digests begin alike.
    """
    sharing: dict[str, list[str]] = {}
    for profile in profiles:
        sharing.setdefault(trait_of(profile), []).append(profile)
    single = {trait: names[0] for trait, names in sharing.items() if len(names) == 1}
    return single, {trait: names for trait, names in sharing.items() if len(names) > 1}
