"""The examples of the documentation: one after the other they can be sent as they are."""

from typing import Any

NIC = "vendor-a.com/my-nic"
FIRMWARE = "vendor-a.com/my-nic-firmware"

TOKEN = {"name": "vendor-a's pipeline", "role": "publisher", "vendor": "vendor-a.com", "expires_in": 31536000}
VENDOR = {"name": "Vendor A", "url": "https://vendor-a.com"}
RELEASE = {
    "description": "the firmware as it is shipped since May 2024",
    "models": {
        NIC: {
            "variables": {
                "num-queues": {
                    "type": "int",
                    "init_value": 4,
                    "off_value": 1,
                    "allowed_values": [1, "2-8"],
                    "description": "queue pairs that the guest sees",
                },
                "new-feature": {"type": "bool", "init_value": True, "off_value": False},
                "mac": {"type": "str", "init_value": "", "scope": "instance"},
            },
            "constraints": [
                {
                    "when": {"new-feature": [True]},
                    "require": {"num-queues": ["3-8"]},
                    "description": "the new feature takes a queue of its own",
                }
            ],
        }
    },
    "profiles": [{"name": "vendor-a.com/my-nic-2023", "values": {NIC: {"num-queues": 4}}}],
}
VARIABLE_SET = {
    "model": "vendor-a.com/my-gpu",
    "implementation": FIRMWARE,
    "version": "2024.1",
    "variables": {"memory-gb": {"type": "int", "init_value": 4, "settable": False}},
}
PROFILE = {
    "name": "vendor-a.com/my-nic-2024",
    "extends": "vendor-a.com/my-nic-2023",
    "values": {NIC: {"num-queues": 8, "new-feature": True}},
}
NAMED_PROFILE = {"extends": "vendor-a.com/my-nic-2024", "values": {NIC: {"new-feature": None}}}
QUESTION = {
    "devices": [
        {
            "id": "net0",
            "model": NIC,
            "release": f"{FIRMWARE}@2024.1",
            "profile": "vendor-a.com/my-nic-2023",
            "values": {"mac": "52:54:00:12:34:56"},
        }
    ],
    "destinations": [{"id": "host-17", "releases": [f"{FIRMWARE}@2024.1"]}],
    "policy": "strict",
    "detail": "full",
}
HOST = {
    "releases": [f"{FIRMWARE}@2024.1"],
    "restrict": {NIC: {"num-queues": ["1-4"]}},
    "labels": {"rack": "r1"},
}
IMPLEMENTATION = {"evolution": "full", "transitive": True}
MIRRORED = {
    "url": "https://registry.example",
    "changes": [
        {
            "seq": 1,
            "part_of": 1,
            "at": "2026-11-23T12:00:00.000Z",
            "by": "admin",
            "kind": "vendor-registered",
            "name": "vendor-c.com",
            "document": {"name": "Vendor C", "url": "https://vendor-c.com"},
            "document_digest": "sha256:e8984084a0fc921e03b19e17b9b6e5ea6467c8dbf4229a2c75d1bb906058a210",
            "link": "sha256:6dc3d3f92994837a4de4ac54df942a52455a5c5e3e4bc67dbbb99062b29c27e0",
        }
    ],
}
BASELINE = {"models": [NIC], "releases": [f"{FIRMWARE}@2024.1"]}


def example(summary: str, value: Any) -> dict[str, Any]:
    """Return an example as OpenAPI wants it, to be one of `openapi_examples`."""
    return {"example": {"summary": summary, "value": value}}
