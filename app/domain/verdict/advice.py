"""What each party can do about a problem of a verdict: one row per code. RULES has the rule and its cure."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.domain.verdict.problem import ProblemCode


@dataclass(frozen=True, slots=True)
class Advice:
    """What a vendor, the operator of hosts and the author of an orchestrator can do.

    Each is empty if there is nothing for that party to do. example: a message with this code.
    """

    vendor: str
    operator: str
    orchestrator: str
    example: str


ADVICE: Mapping[ProblemCode, Advice] = {
    ProblemCode.UNKNOWN_MODEL: Advice(
        "Publish a release that implements the device model: PUT /releases/{implementation}@{version}.",
        "Search the registry for a part of the name. If this registry mirrors another one, bring the mirror up to "
        "date.",
        "Compare the name with GET /models. A name that is not published is never compatible, so report it.",
        "The registry has no device model vendor-a.com/no.",
    ),
    ProblemCode.UNKNOWN_PROFILE: Advice(
        "Publish the profile, alone or in the list of a release that supports it.",
        "Look up what the device was created with. The machine type of a QEMU has a profile of its name.",
        "Compare the name with GET /profiles. Leave the profile out only if the device was created without one.",
        "The registry has no profile vendor-a.com/p9.",
    ),
    ProblemCode.UNKNOWN_RELEASE: Advice(
        "Publish the release in the pipeline that builds it, before hosts install it.",
        "Import what the host runs (profile-registry import), or correct the releases that it is registered with.",
        "Take the names of releases from the registered host instead of writing them in the question.",
        "The registry has no release vendor-a.com/fw@9 (the source).",
    ),
    ProblemCode.UNKNOWN_HOST: Advice(
        "",
        "Run profile-registry host report on the host, or with --watch as a service.",
        "Compare the name and the labels with GET /hosts. A selection without hosts has this problem, too.",
        "No host there is registered.",
    ),
    ProblemCode.SOURCE_UNKNOWN: Advice(
        "",
        "Register the host that the device runs on: the question can then name the host.",
        'Name the release, the profile or the host of the device; or add "complete": true if the values are all that '
        "is "
        "in effect.",
        "The device names neither a release nor a profile, and does not state that its values are complete.",
    ),
    ProblemCode.PROFILE_NOT_FOR_MODEL: Advice(
        "Add the device model to the profile: a profile can gain models.",
        "Look up the profile that the device was created with.",
        "Name a profile only for the devices that it is for; parts of other vendors have profiles of their own.",
        "The profile vendor-a.com/p has no values for vendor-a.com/nic.",
    ),
    ProblemCode.UNKNOWN_VARIABLE: Advice(
        "Publish the variable in the variable set of the release that has it.",
        "Check that the host runs the release that it is registered with.",
        "Correct the name of the variable or the source release; values must be those of the source release.",
        "new=on is given, but the source release vendor-a.com/fw@1 has no variable new.",
    ),
    ProblemCode.SOURCE_VALUE_INVALID: Advice(
        "Check the allowed values and the constraints of the source release: a device in use contradicts them.",
        "Look at the running device and at the release that its host runs.",
        "Correct the release, the profile or the value in the question. The registry judges no device that cannot "
        "exist.",
        "queues=16 at the source, but the source release vendor-a.com/fw@1 allows 1-8.",
    ),
    ProblemCode.MODEL_NOT_SUPPORTED: Advice(
        "Publish the device model with the release if the product provides it.",
        "Install a release that implements the device model on the host.",
        "Choose another host.",
        "vendor-a.com/fw@3 does not implement vendor-a.com/nic.",
    ),
    ProblemCode.NOT_MIGRATABLE: Advice(
        "State migratable and blocks_migration as narrowly as is true.",
        "Unplug the device for the migration, if the guest can do without it.",
        "Change the value that blocks the migration if it can be changed on a running device, or leave the VM where it "
        "is.",
        "vendor-a.com/fw@3 does not migrate a device with queues=8.",
    ),
    ProblemCode.VARIABLE_NOT_SUPPORTED: Advice(
        "Create devices for such fleets with a profile in which the variable is off.",
        "Install a newer release on the destination.",
        "Choose another host, or switch the variable off at the source: remedies says whether that helps.",
        "new=on at the source, but vendor-a.com/fw@1 does not know new. Only devices with new=off can move there.",
    ),
    ProblemCode.TYPE_MISMATCH: Advice(
        "Agree with the other vendor: two of you use one name for different things. Publish a new variable.",
        "Report it to both vendors.",
        "Choose a host with releases of the same vendor as the source.",
        "theirs is of type int at the source, but of type bool on vendor-c.com/clone@1.",
    ),
    ProblemCode.VALUE_NOT_ALLOWED: Advice(
        "Allow the value in the next release if the product can provide it.",
        "Install a release that allows the value, or loosen the restriction of the host if that is what refuses it.",
        "Choose another host, or change the value at the source: remedies says whether that helps.",
        "queues=16 at the source, but vendor-a.com/fw@1 allows 1-8.",
    ),
    ProblemCode.CANNOT_BE_OFF: Advice(
        "Publish an off value for the variable if it is known how devices behaved before. A model can gain off values.",
        "Create new devices with a profile that names the variable.",
        "Name the profile or the release that the device was created with, so that the value is known.",
        "vendor-a.com/fw@3 has a new variable speed without an off_value, so nothing says what earlier devices had. "
        "Set "
        "it in the profile, or publish an off_value.",
    ),
    ProblemCode.CONSTRAINT_VIOLATED: Advice(
        "Describe the constraint, so that its readers know what to choose.",
        "Choose values that meet the constraint when the device is created: a baseline finds such values.",
        "Choose another host, or change the values that the message names at the source.",
        "queues=2, but vendor-a.com/fw@3 requires 3-8 (with new off).",
    ),
    ProblemCode.RELEASE_RETIRED: Advice(
        "Retire a release only when no device should move to it any more; a retired release can be published again.",
        "Update the host to a release that is not retired.",
        "Choose another host. Devices can still leave a retired release.",
        "vendor-a.com/fw@3 is retired: no device can move there.",
    ),
    ProblemCode.PROFILE_RETIRED: Advice(
        "Deprecate a profile first, and retire it when no device uses it.",
        "Create the device again with a current profile.",
        "Leave the VM where it is until the device is created again.",
        "The profile vendor-a.com/old is retired.",
    ),
    ProblemCode.PROFILE_NOT_LISTED: Advice(
        "List the profile with the release: the list can grow.",
        "Install a release that lists the profile.",
        "Choose another host; or use policy permissive, which compares variables alone.",
        "vendor-a.com/fw@1 does not list vendor-a.com/p2 among the profiles that it supports.",
    ),
    ProblemCode.STATE_NOT_READABLE: Advice(
        "Keep reading the formats of earlier releases, and state them under saved_state.",
        "Update hosts in an order in which each release reads what the one before writes.",
        "Choose a host whose release reads the saved state, for example one of the same release.",
        "vendor-a.com/fw@1 writes saved states of format 1, but vendor-a.com/fw@3 reads 2.",
    ),
    ProblemCode.PART_UNKNOWN: Advice(
        "",
        "Run host report on the hosts: it finds what is behind devices, such as drivers and firmware.",
        "Add the device behind this one to the question, with part_of and role.",
        "At vendor-a.com/fw@3 such a device needs a part in the role firmware, and the question has none.",
    ),
    ProblemCode.NOT_TOGETHER: Advice(
        "State under together only what the parts really have to share.",
        "Give the VM parts that meet the rule, for example from units of one kind.",
        "Choose another host, or take devices out of the VM until the rule no longer applies.",
        "The VM has 2 devices with a part in the role host-device, and vendor-a.com/fw@3 then requires p2p on of "
        "each such "
        "part; vendor-a.com/nic of dev1 has p2p=off.",
    ),
    ProblemCode.NOTHING_COMPARED: Advice(
        "Publish the variables, the saved state, or a list of profiles of the release.",
        "Ask the vendor to publish what the device has.",
        "Treat the device as one that cannot move: nothing says that it is the same at the destination.",
        "vendor-a.com/fw@3 states no variable of vendor-a.com/nic that is compared, and no saved state, and lists no "
        "profile that the device names, so nothing says that the device is the same there.",
    ),
    ProblemCode.KNOWN_BROKEN: Advice(
        "Publish a fixed release. Withdraw the erratum if it is wrong.",
        "Read the erratum on the page of the release, and install a release that it does not name.",
        "Choose another host, or change the value that the erratum names.",
        "Known to fail: migrating vendor-a.com/nic between vendor-a.com/fw@2 and any release. it fails.",
    ),
}
