"""The examples of the documentation; they can be sent as they are, in this order."""

import re
from collections.abc import Mapping
from typing import Any

NIC = "vendor-a.com/my-nic"
FIRMWARE = "vendor-a.com/my-nic-firmware"
# Names in the sample that `make run` publishes.
_DEVICE_MODEL = "qemu.org/virtio-net-pci"
_EMULATOR = "qemu.org/qemu-system-x86_64"
_OLDER, _NEWER = f"{_EMULATOR}@7.2.22", f"{_EMULATOR}@10.0.13"
_MACHINE = "qemu.org/pc-q35-7.2"
_NEWER_SET = "sha256:35c2bb34fb3056598be29534ddf98f9ecdbf44607a4ca136c62147a6b1d1ca56"

# The id of ERRATUM.
_ERRATUM = "d7e96fa1147312d9"

TOKEN = {"name": "vendor-a's pipeline", "role": "publisher", "vendor": "vendor-a.com", "expires_in": 31536000}
TRUSTED_PUBLISHER = {
    "vendor": "vendor-a.com",
    "issuer": "https://token.actions.githubusercontent.com",
    "audience": "https://registry.example",
    "claims": {"repository": "vendor-a/firmware", "ref": "refs/heads/main"},
}
TRUSTED_PROJECT = {
    "vendor": "vendor-a.com",
    "issuer": "https://gitlab.com",
    "audience": "https://registry.example",
    "claims": {"project_path": "vendor-a/firmware", "ref": "main", "ref_type": "branch", "ref_protected": "true"},
}
# The id of TRUSTED_PUBLISHER.
_TRUSTED_PUBLISHER = "80b10f46d420"
EXCHANGE = {"token": "<the OIDC token of the run>"}
VENDOR = {"name": "Vendor A", "url": "https://vendor-a.com"}
RELEASE = {
    "description": "the firmware that ships since May 2024",
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
                    "description": "the new feature needs a queue of its own",
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
DRAFT_PROFILE = {"name": "vendor-a.com/my-nic-2026", "values": {NIC: {}}, "state": "draft"}
DRAFT_RELEASE = {"models": RELEASE["models"], "state": "draft"}
NAMED_PROFILE = {"extends": "vendor-a.com/my-nic-2024", "values": {NIC: {"new-feature": None}}}
QUESTION = {
    "devices": [
        {
            "id": "net0",
            "model": _DEVICE_MODEL,
            "release": _NEWER,
            "profile": _MACHINE,
            "values": {"guest_uso4": True, "mac": "52:54:00:12:34:56"},
        }
    ],
    "destinations": [{"id": "new-host", "releases": [_NEWER]}, {"id": "old-host", "releases": [_OLDER]}],
    "policy": "strict",
    "detail": "full",
}
HOST = {
    "releases": [_NEWER],
    "resolves": {_DEVICE_MODEL: {"guest_uso4": {"on": False}}},
    "units": [
        {
            "id": "pci/0000:3b:00.2",
            "releases": [f"{FIRMWARE}@2024.1"],
            "restrict": {NIC: {"num-queues": ["1-4"]}},
            "available": 6,
        }
    ],
    "labels": {"rack": "r1"},
}
INVENTORY = {
    "hosts": {
        "host-1": {"releases": [_NEWER], "labels": {"rack": "r1"}},
        "host-2": {"releases": [_NEWER], "labels": {"rack": "r2", "draining": ""}},
    },
    "forget_others": False,
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
VENDOR_KEY = {"key": "vendor-a.com/2026+f42d6e6a+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"}
# Its key is VENDOR_KEY. The payload is the canonical JSON of {"name": …, "document": {"models": …}}.
SIGNED_RELEASE = {
    "payloadType": "application/vnd.device-profile-registry.release+json",
    "payload": (
        "eyJkb2N1bWVudCI6eyJtb2RlbHMiOnsidmVuZG9yLWEuY29tL215LW52bWUiOnsidmFyaWFibGVzIjp7Im5hbWVzcGFjZXMiOnsi"
        "aW5pdF92YWx1ZSI6MSwidHlwZSI6ImludCJ9fX19fSwibmFtZSI6InZlbmRvci1hLmNvbS9teS1udm1lLWZpcm13YXJlQDEifQ=="
    ),
    "signatures": [
        {
            "keyid": "vendor-a.com/2026+f42d6e6a",
            "sig": "FW/4gnAIbh6HTTrmszl181YSuxqvWQQSsNTL3FLjjr4ADZmTfMNu94rLBo4Ynx2vZZqt068pVp5Nv2REiidsBg==",
        }
    ],
}
_SIGNED = "sha256:eb572fcfcd151f1d04518afc21d429333168d0b8b4cdb5c2c5b25cb7d104d36b"
ERRATUM = {
    "release": f"{FIRMWARE}@2024.1",
    "model": NIC,
    "when": {"new-feature": [True]},
    "with": [f"{FIRMWARE}@<2024.1"],
    "direction": "to",
    "description": "older firmware loses packets that are in flight",
    "url": "https://vendor-a.com/errata/17",
}
WITHDRAWN = {"state": "withdrawn"}
BASELINE = {"models": [_DEVICE_MODEL], "releases": [_OLDER, _NEWER]}
STATE = {"state": "deprecated"}


def example(summary: str, value: Any) -> Any:
    """Return one example in the form of OpenAPI."""
    return examples({summary: value})


def examples(by_summary: Mapping[str, Any]) -> Any:
    """Return examples by summary in the form of OpenAPI; /docs fills in the first one."""
    return {
        re.sub(r"[^a-z]+", "-", summary.lower()): {"summary": summary, "value": value}
        for summary, value in by_summary.items()
    }


# The parameters by operation and name. They fit the sample that `make run` publishes, once the bodies above are sent.
# A dict has several examples by summary, in the order of the bodies.
PARAMETERS: dict[str, dict[str, Any]] = {
    "get_compatibility": {
        "model": _DEVICE_MODEL,
        "profile": _MACHINE,
        "source": _NEWER,
        "destination": [_OLDER],
        "value": ["guest_uso4=on"],
        "detail": "full",
    },
    "get_diff": {"from": _OLDER, "to": _NEWER, "model": _DEVICE_MODEL},
    "get_support_matrix": {"profile": [_MACHINE], "model": [_DEVICE_MODEL], "implementation": [_EMULATOR]},
    "put_vendor": {"vendor": "vendor-a.com"},
    "get_vendor": {"vendor": "qemu.org"},
    "put_vendor_key": {"vendor": "vendor-a.com", "key_id": "f42d6e6a"},
    "get_signature": {"digest": _SIGNED},
    "list_vendor_keys": {"vendor": "vendor-a.com"},
    "revoke_vendor_key": {"vendor": "vendor-a.com", "key_id": "f42d6e6a"},
    "put_implementation": {"implementation": FIRMWARE},
    "get_implementation": {"implementation": _EMULATOR},
    "put_release": {
        "release": {
            "a release": f"{FIRMWARE}@2024.1",
            "a draft": f"{FIRMWARE}@2025.1",
            "a signed release": "vendor-a.com/my-nvme-firmware@1",
        }
    },
    "list_releases": {"implementation": _EMULATOR, "model": _DEVICE_MODEL, "state": "published"},
    "get_release": {"release": _NEWER},
    "patch_release": {"release": f"{FIRMWARE}@2024.1", "dry_run": True},
    "delete_release": {"release": f"{FIRMWARE}@2025.1"},
    "list_variable_sets": {"model": _DEVICE_MODEL, "version": "10.0.13", "variable": "guest_uso4"},
    "get_variable_set": {"digest": _NEWER_SET},
    "list_models": {"vendor": "qemu.org", "q": "virtio"},
    "get_model": {"model": _DEVICE_MODEL},
    "list_profiles": {"vendor": "qemu.org", "model": _DEVICE_MODEL},
    "put_profile": {"name": "vendor-a.com/my-nic-2025"},
    "get_profile": {"name": _MACHINE, "resolved": True},
    "patch_profile": {"name": "vendor-a.com/my-nic-2025", "dry_run": True},
    "delete_profile": {"name": "vendor-a.com/my-nic-2026"},
    "list_trusted_publishers": {"vendor": "vendor-a.com"},
    "delete_trusted_publisher": {"publisher_id": _TRUSTED_PUBLISHER},
    "list_errata": {"release": f"{FIRMWARE}@2024.1", "model": NIC, "state": "published"},
    "get_erratum": {"erratum": _ERRATUM},
    "patch_erratum": {"erratum": _ERRATUM, "dry_run": True},
    "get_impact": {"name": _OLDER, "state": "retired"},
    "put_registered_host": {"host": "host-17"},
    "get_host": {"host": "host-17"},
    "list_hosts": {"label": "rack=r1"},
    "forget_host": {"host": "host-17"},
    "list_changes": {"after": 0, "limit": 10, "vendor": "qemu.org"},
    "get_change": {"seq": 1},
    "get_mirror": {"registry": "another-registry"},
    "post_mirrored_changes": {"registry": "another-registry"},
}
