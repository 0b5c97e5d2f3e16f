"""A small publication needs few statements, because each one costs more than the rows that it concerns."""

from collections.abc import Mapping
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.conftest import AUTHORIZATION, make_app
from tests.pages.plan import sent_statements

_MOST = 12
_VENDOR = "vendor-a.com"
_NIC = f"{_VENDOR}/nic"


def _set(queues: int) -> Mapping[str, Any]:
    variables = {f"v{number}": {"type": "int", "init_value": number, "off_value": 0} for number in range(5)}
    return {
        "variables": {"queues": {"type": "int", "init_value": 1, "off_value": 1, "allowed_values": [f"1-{queues}"]}}
        | variables
    }


_PROFILE = {"name": f"{_VENDOR}/nic-2026", "values": {_NIC: {"queues": 2}}}
_NEXT_PROFILE = {"name": f"{_VENDOR}/nic-2027", "extends": f"{_VENDOR}/nic-2026", "values": {_NIC: {"queues": 3}}}
# Each is published after those before it.
_PUBLICATIONS = {
    "the first release": ("fw@1", {"models": {_NIC: _set(2)}, "profiles": [_PROFILE]}),
    "the next release of a model": ("fw@2", {"models": {_NIC: _set(4)}, "profiles": [_PROFILE["name"]]}),
    "a release with a profile that extends another": ("fw@3", {"models": {_NIC: _set(8)}, "profiles": [_NEXT_PROFILE]}),
    "a release that publishes a profile again": ("fw@4", {"models": {_NIC: _set(8)}, "profiles": [_PROFILE]}),
    "a release of a new model": ("disk-fw@1", {"models": {f"{_VENDOR}/disk": _set(1)}}),
    "a release that gains a model": ("disk-fw@1", {"models": {f"{_VENDOR}/disk": _set(1), _NIC: _set(8)}}),
    "a release that is there already": ("fw@4", {"models": {_NIC: _set(8)}, "profiles": [_PROFILE]}),
}


@pytest.mark.parametrize("role", ["admin", "publisher"])
def test_a_small_publication_needs_few_statements(database_url: str, role: str) -> None:
    with TestClient(make_app(database_url), headers=AUTHORIZATION) as registry:
        registry.put(f"/vendors/{_VENDOR}", json={}).raise_for_status()
        token = registry.post("/tokens", json={"name": "ci", "role": "publisher", "vendor": _VENDOR}).json()
        if role == "publisher":
            registry.headers["Authorization"] = f"Bearer {token['token']}"
        counts = {}
        for title, (release, document) in _PUBLICATIONS.items():
            # The token is read before, once in half a second.
            registry.get("/tokens/self").raise_for_status()
            with sent_statements(registry) as statements:
                answer = registry.put(f"/releases/{_VENDOR}/{release}", json=document)
            assert answer.status_code == (200 if "already" in title else 201), answer.text
            counts[title] = len(statements)
    assert max(counts.values()) <= _MOST, counts


def test_a_large_publication_is_stored_whole(registry: TestClient) -> None:
    registry.put(f"/vendors/{_VENDOR}", json={}).raise_for_status()
    variables = {f"v{number}": {"type": "int", "init_value": 0, "off_value": 0} for number in range(200)}
    # The own values of the profile are its resolved values, and those of the other profile.
    profiles = [{"name": f"{_VENDOR}/p{number}", "values": {_NIC: {"v1": 0}}} for number in range(2)]
    document = {"models": {_NIC: {"variables": variables}}, "profiles": profiles}
    for version, status in (("1", 201), ("1", 200), ("2", 201)):
        answer = registry.put(f"/releases/{_VENDOR}/fw@{version}", json=document)
        assert answer.status_code == status, answer.text
    assert len(registry.get(f"/models/{_NIC}").json()["variables"]) == 200
