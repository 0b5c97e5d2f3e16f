"""The meanings of the faults of a document: one row per code."""

from collections.abc import Mapping

from app.domain.values.document import FaultCode
from app.domain.values.meaning import Meaning

FAULTS: Mapping[FaultCode, Meaning] = {
    FaultCode.WRONG_TYPE: Meaning(
        "A value has a JSON type that is not allowed there.",
        "Give the value the type that the message names.",
        "must be an integer, not a string",
    ),
    FaultCode.MISSING_FIELD: Meaning(
        "A required field is missing.",
        "Add the field.",
        "is missing",
    ),
    FaultCode.UNKNOWN_FIELD: Meaning(
        "The document or the address has a field that is not known, so its effect would be lost.",
        "Correct the name of the field, or remove it. The message suggests a similar field if there is one.",
        'unknown field (did you mean "off_value"?)',
    ),
    FaultCode.INVALID_NAME: Meaning(
        "A name has a form that is not allowed.",
        "Correct the name. The message says what is allowed.",
        "a name must have none of @ = ? # %, but has @",
    ),
    FaultCode.INVALID_VALUE: Meaning(
        "A value has the right type, but is not allowed.",
        "Correct the value. The message says what is allowed.",
        "must be at least 1",
    ),
    FaultCode.INVALID_RANGE: Meaning(
        "A range of allowed values is empty or malformed.",
        'Write "min-max" with min at most max, or {"min": 2, "max": 8, "step": 2}.',
        "must not be an empty range: 8 is greater than 1",
    ),
    FaultCode.INIT_NOT_ALLOWED: Meaning(
        "The init value is not among the allowed values of the variable.",
        "Add the init value to the allowed values, or choose another init value.",
        "must be an allowed value (5-8), not 4",
    ),
    FaultCode.OFF_NOT_ALLOWED: Meaning(
        "The off value is not among the allowed values of the variable.",
        "Add the off value to the allowed values, or choose another off value. A variable that is not settable can "
        "state an off value that it does not allow.",
        "must be an allowed value (2-8), not 1",
    ),
    FaultCode.UNKNOWN_VARIABLE: Meaning(
        "The document names a variable that the device model does not have.",
        "Correct the name, or publish a release with the variable first.",
        'unknown variable of vendor-a.com/nic (did you mean "queues"?)',
    ),
    FaultCode.WRONG_SCOPE: Meaning(
        "A constraint or a profile uses a backend or an instance variable.",
        "Remove the variable: its value belongs to a host or to one device, never to a profile.",
        "is an instance variable: it belongs to one device, never to a profile",
    ),
    FaultCode.INIT_BREAKS_CONSTRAINT: Meaning(
        "The init values together do not meet a constraint of the set.",
        "Choose init values that meet every constraint: a device that is created without a profile has them.",
        "must be met by the init values, but queues=1, not 2-8",
    ),
    FaultCode.UNKNOWN_MODEL: Meaning(
        "The document names a device model that is not published.",
        "Correct the name, or publish it first. Only its own vendor can publish a device model for the first time.",
        "unknown device model: only vendor-a.com can publish its first variable set",
    ),
    FaultCode.UNKNOWN_PROFILE: Meaning(
        "The document names a profile that is not published.",
        "Correct the name, or publish the profile first or in the same document.",
        "the registry has no profile vendor-a.com/p9",
    ),
    FaultCode.UNKNOWN_RELEASE: Meaning(
        "The document names a release that is not published.",
        "Correct the name, or publish the release first.",
        "the registry has no release vendor-a.com/fw@9",
    ),
    FaultCode.PROFILE_NOT_ACCEPTED: Meaning(
        "No published release accepts the profile for a device model that it names.",
        "Change the profile until at least one published release accepts it. The message says why none does.",
        "No published release implements vendor-a.com/nic.",
    ),
    FaultCode.VARIABLE_REDEFINED: Meaning(
        "The document contradicts the type or the off value that the device model has for a variable.",
        "Use a new variable: the first statement of the type and the off value stands for every release.",
        "must be int, as published for queues of vendor-a.com/nic, not str",
    ),
    FaultCode.ENTRY_CHANGED: Meaning(
        "The document would change an entry that is published.",
        "Publish a new version or a new name: published entries never change.",
        "must stay the description published",
    ),
    FaultCode.LIMIT_EXCEEDED: Meaning(
        "A text, a list or the document is longer than its limit.",
        "Shorten it. The message gives the limit.",
        "must have at most 100 items",
    ),
    FaultCode.DUPLICATE: Meaning(
        "Something that must be unique is given twice.",
        "Remove the second entry.",
        "duplicate parameter; give it once",
    ),
    FaultCode.SIGNATURE_REQUIRED: Meaning(
        "The publications of this vendor must be signed, and this one is not.",
        "Sign the publication: import with --sign FILE.",
        "publications of vendor-a.com must be signed with a key of vendor-a.com: add --sign FILE to the command "
        "(HTTP: PUT "
        "a DSSE envelope instead of the document)",
    ),
    FaultCode.SIGNATURE_INVALID: Meaning(
        "A signature does not belong to this payload and type.",
        "Sign exactly the bytes that you send.",
        "the signature of vendor-a.com+1f3c0a2b does not match the payload and its type",
    ),
    FaultCode.UNKNOWN_KEY: Meaning(
        "A signature was made with a key that is not registered for the vendor.",
        "Sign with a registered key (GET /vendors/{vendor}/keys), or ask an admin to register the new one.",
        "vendor-a.com has no key vendor-a.com+1f3c0a2b. Sign with a registered key (GET /vendors/vendor-a.com/keys), "
        "or ask "
        "an admin to register this one",
    ),
    FaultCode.KEY_REVOKED: Meaning(
        "A signature was made with a key that is revoked.",
        "Sign with a key that is not revoked, or ask an admin to register a new one.",
        "vendor-a.com+1f3c0a2b was revoked at 2026-01-01T00:00:00.000Z: it signs nothing published later",
    ),
}
