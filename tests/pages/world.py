"""A small registry with all that pages have to show, hostile names among it."""

from typing import Any

from fastapi.testclient import TestClient

NIC = "vendor-a.com/my-nic"
GPU = "vendor-a.com/gpu's \"<best>&'".replace(" ", "-")
FIRMWARE = "vendor-a.com/fw"
STRANGE = "a\"b<c>&'d"
SCRIPT = "<script>alert(1)</script>"

QUEUES = {"type": "int", "init_value": 4, "off_value": 1, "allowed_values": [1, "2-8"], "runtime": True}
FEATURE = {"type": "bool", "init_value": True, "off_value": False, "description": SCRIPT}
MAC = {"type": "str", "init_value": "", "scope": "instance"}
MODE = {"type": "str", "init_value": "fast", "off_value": "slow", "allowed_values": ["fast", "slow"]}


def fill(registry: TestClient) -> None:
    """Publish two vendors, three releases, profiles that inherit, a draft, hosts."""
    _put(registry, "/vendors/vendor-a.com", {"name": f"Vendor A {SCRIPT}", "url": "javascript:alert(1)"})
    _put(registry, "/vendors/vendor-b.com", {"url": "https://vendor-b.com"})
    gpu = {"variables": {STRANGE: MODE, "memory": {"type": "int", "init_value": 4, "off_value": 4, "settable": False}}}
    _put(
        registry,
        f"/releases/{FIRMWARE}@1",
        {
            "description": SCRIPT,
            "models": {NIC: {"variables": {"num-queues": QUEUES, "mac": MAC, "legacy": FEATURE}}, GPU: gpu},
            "profiles": [
                {
                    "name": "vendor-a.com/base",
                    "values": {NIC: {"num-queues": 4, "legacy": True}, GPU: {STRANGE: "fast"}},
                },
                {
                    "name": "vendor-a.com/more",
                    "extends": "vendor-a.com/base",
                    "values": {NIC: {"num-queues": 8, "legacy": None}},
                },
            ],
        },
    )
    changed = {**QUEUES, "allowed_values": ["1-4"]}
    set_of_two = {
        "variables": {"num-queues": changed, "mac": MAC, "new-feature": {**FEATURE, "init_value": False}},
        "constraints": [
            {"when": {"new-feature": [True]}, "require": {"num-queues": ["2-4"]}, "description": "a queue of its own"}
        ],
        "blocks_migration": [{"when": {"num-queues": [3]}, "description": "odd"}],
    }
    _put(
        registry,
        f"/releases/{FIRMWARE}@2",
        {"models": {NIC: set_of_two, GPU: gpu}, "profiles": ["vendor-a.com/base"]},
        override="the firmware lost queues",
    )
    _put(registry, "/releases/vendor-b.com/dpu@1", {"models": {NIC: {"variables": {"num-queues": QUEUES, "mac": MAC}}}})
    _put(registry, "/profiles/vendor-b.com/draft", {"values": {NIC: {}}, "state": "draft"})
    assert registry.patch("/releases/vendor-b.com/dpu@1", json={"state": "deprecated"}).is_success
    _put(registry, "/hosts/host-1", {"releases": [f"{FIRMWARE}@1"], "labels": {"rack": "r1"}})
    _put(
        registry,
        "/hosts/host-2",
        {"releases": [f"{FIRMWARE}@2"], "labels": {"rack": "r1"}, "restrict": {NIC: {"num-queues": ["1-2"]}}},
    )


def _put(registry: TestClient, path: str, document: Any, **query: str) -> None:
    response = registry.put(path, json=document, params=query)
    assert response.is_success, response.text
