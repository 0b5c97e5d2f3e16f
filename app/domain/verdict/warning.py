"""The meanings of warnings, and of what `unchecked` lists in addition to variables: one row per code."""

from collections.abc import Mapping

from app.domain.values.meaning import Meaning
from app.domain.verdict.problem import WarningCode

# In the order of WarningCode.
WARNINGS: Mapping[WarningCode, Meaning] = {
    WarningCode.ONLY_VARIABLES_COMPARED: Meaning(
        "The device names no profile, or the release has no list of profiles: all variables match, but no vendor lists "
        "this combination.",
        "Name the profile that the device was created with, or ask the vendor to list the profiles that the release "
        "supports.",
        "Only variables were compared: the device names no profile.",
    ),
    WarningCode.MIGRATABILITY_UNKNOWN: Meaning(
        "Nobody stated whether the source or the destination migrates the device at all: a capture was published, or "
        "the device could not be started to ask.",
        "Try the migration once, or import the binary on a host that has the device.",
        "Nobody has stated whether vendor-a.com/fw@1 can migrate vendor-a.com/nic at all.",
    ),
    WarningCode.STATE_NOT_COMPARED: Meaning(
        "Of a baseline: some members state no saved state, so nobody knows whether they read that of the others.",
        "Ask their vendor to state the saved state.",
        "No saved state of vendor-a.com/nic is stated by vendor-a.com/fw@1, so that of the others was not compared.",
    ),
    WarningCode.PARTS_NOT_COMPARED: Meaning(
        "Of a baseline: devices of the model need parts, which have models and baselines of their own.",
        "Ask for the baselines of the parts' models, too.",
        "vendor-a.com/nic needs parts, in the roles firmware: ask for a baseline of their models, too.",
    ),
    WarningCode.MUST_BE_SET: Meaning(
        "The destination by itself makes something else of the profile; whoever only names the profile there changes "
        "the guest's hardware.",
        "Set the values that the warning names explicitly; `render` writes them.",
        "Set queues=8 explicitly at the destination: vendor-a.com/fw@2 by itself makes something else of "
        "vendor-a.com/p1, which would change the guest's hardware.",
    ),
    WarningCode.GUEST_MAY_SEE_MORE: Meaning(
        "The destination cannot give the device the values that it has, only larger ones, and its vendor states that a "
        "running device may find more.",
        "Choose a host that has the same values if the guest must not see a change.",
        "The guest may find more at vendor-a.com/fw@2, as its vendor states: queues=16, not 8.",
    ),
    WarningCode.ERRATUM_NOT_CHECKED: Meaning(
        "An erratum is about certain source releases, and the question names no source release.",
        "Name the release that the device runs on.",
        "Not checked, because the source release is not known: migrating vendor-a.com/nic from vendor-a.com/fw@1 to "
        "vendor-a.com/fw@2 is known to fail.",
    ),
    WarningCode.UNKNOWN_RELEASE: Meaning(
        "A release of the host is not published; another release of the host serves the device.",
        "Publish the release, or correct the releases that the host is registered with.",
        "The registry has no release vendor-a.com/fw@9, which the destination runs.",
    ),
    WarningCode.RELEASE_DEPRECATED: Meaning(
        "The destination release is deprecated; it still works.",
        "Plan to replace the release.",
        "vendor-a.com/fw@1 is deprecated.",
    ),
    WarningCode.PROFILE_DEPRECATED: Meaning(
        "The profile of the device is deprecated; it still works.",
        "Plan to replace the profile.",
        "The profile vendor-a.com/p1 is deprecated.",
    ),
    WarningCode.RELEASE_RETIRED: Meaning(
        "The source release is retired.",
        "Move the VM away.",
        "The source release vendor-a.com/fw@1 is retired.",
    ),
    WarningCode.NOT_RENDERABLE: Meaning(
        "The configuration cannot be written as arguments of the program that was asked for.",
        "Take the values from `configuration`, or ask for another form in `render`.",
        "qemu: vendor-a.com/nic is no device of QEMU.",
    ),
    WarningCode.RESTRICTION_WITHOUT_EFFECT: Meaning(
        "The host restricts or resolves a device model or a variable that does not exist.",
        "Correct the name in what the host is registered with.",
        "The destination restricts vendor-a.com/nix, but the registry has no device model vendor-a.com/nix.",
    ),
    WarningCode.HOST_STALE: Meaning(
        "The host that the device runs on, or the host to move to, has not reported for REGISTRY_HOST_STALE_HOURS, so "
        "what it runs may have changed.",
        "Run profile-registry host report on it, or with --watch as a service.",
        "This host has not reported for a long time, so it may run something else by now. Run profile-registry host "
        "report on it.",
    ),
}

# What `unchecked` lists that is not the name of a variable.
UNCHECKED: Mapping[str, Meaning] = {
    "saved-state": Meaning(
        "Only one of the two releases states a saved state, so nobody knows whether the destination reads what the "
        "source writes.",
        "Ask the vendor of the release that states none to publish its saved state.",
        '"unchecked": ["saved-state"]',
    ),
    "migratable": Meaning(
        "Nobody stated whether the source or the destination migrates the device at all; the warning "
        "migratability-unknown names the release.",
        "Try the migration once, or ask the vendor to state `migratable`.",
        '"unchecked": ["migratable"]',
    ),
    "errata": Meaning(
        "An erratum of the destination release is about certain source releases, and the question names no source "
        "release.",
        "Name the release that the device runs on.",
        '"unchecked": ["errata"]',
    ),
}
