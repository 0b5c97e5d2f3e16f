"""Every process honours a change within a second; the process that made the change honours it at once."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.running.conftest import Server, client

NIC = "vendor-a.com/nic"
FIRST, SECOND = "vendor-a.com/fw@1", "vendor-a.com/fw@2"
QUEUES = {"type": "int", "init_value": 1, "allowed_values": ["1-8"]}
MOST_SECONDS = 1.0


def test_a_change_in_one_process_is_honoured_by_the_others(servers: list[Server]) -> None:
    with client(servers[0]) as here, client(servers[1]) as there:

        def ask(registry: Any, release: str, **values: Any) -> list[str]:
            device = {"model": NIC, "release": FIRST, "values": values}
            question = {"devices": [device], "destinations": [{"releases": [release]}]}
            result = registry.post("/compatibility", json=question).json()["results"][0]["devices"][0]
            return [problem["code"] for problem in result["problems"]]

        here.put("/vendors/vendor-a.com", json={})
        here.put(f"/releases/{FIRST}", json={"models": {NIC: {"variables": {"queues": QUEUES}}}})
        for registry in (here, there):
            assert ask(registry, FIRST) == []
        # A process looks up a name that it has not seen yet, however recent its copy is.
        here.put(f"/releases/{SECOND}", json={"models": {NIC: {"variables": {"queues": QUEUES}}}})
        assert ask(there, SECOND) == []
        # A change of state.
        here.patch(f"/releases/{SECOND}", json={"state": "retired"})
        assert ask(here, SECOND) == ["release-retired"]
        _within_a_second(lambda: ask(there, SECOND) == ["release-retired"])
        # An addition: an off value that a variable gains.
        feature = {"type": "bool", "init_value": False}
        with_feature = {"models": {NIC: {"variables": {"queues": QUEUES, "feature": feature}}}}
        here.put("/releases/vendor-a.com/fw@3", json=with_feature)
        assert ask(there, "vendor-a.com/fw@3") == ["cannot-be-off"]
        with_feature["models"][NIC]["variables"]["feature"] = {**feature, "off_value": False}
        here.put("/releases/vendor-a.com/fw@4", json=with_feature)
        assert ask(here, "vendor-a.com/fw@3") == []
        _within_a_second(lambda: ask(there, "vendor-a.com/fw@3") == [])
        # A host.
        here.put("/hosts/one", json={"releases": [SECOND]})

        def hosts(registry: Any) -> list[tuple[str, bool]]:
            question = {"devices": [{"model": NIC, "release": FIRST}], "destinations": [{"all_hosts": True}]}
            results = registry.post("/compatibility", json=question).json()["results"]
            return [(result["destination"], result["compatible"]) for result in results]

        assert hosts(here) == [("one", False)]
        _within_a_second(lambda: hosts(there) == [("one", False)])
        here.put("/hosts/one", json={"releases": [FIRST]})
        assert hosts(here) == [("one", True)]
        _within_a_second(lambda: hosts(there) == [("one", True)])
        here.delete("/hosts/one")
        nowhere = [("all hosts", False)]
        assert hosts(here) == nowhere
        _within_a_second(lambda: hosts(there) == nowhere)


def _within_a_second(is_honoured: Callable[[], bool]) -> None:
    until = time.monotonic() + MOST_SECONDS
    while not is_honoured():
        if time.monotonic() > until:
            pytest.fail("the change is not honoured within a second")
        time.sleep(0.02)
