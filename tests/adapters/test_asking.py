"""A scheduler's question: right hosts are allowed, and whatever fails allows none, with the reason."""

import socket
import time
from collections.abc import Callable, Iterable, Mapping
from threading import Thread
from typing import Any

import pytest

from app.adapters.asking import Asker, Verdict, Verdicts, by_reason
from app.client import Registry
from app.wire.compatibility import Answer, Policy
from tests.adapters.conftest import NEW, NIC, OLD, PROFILE, PROPERTIES, admin
from tests.running.conftest import Server

Ask = Callable[..., Asker]
ALL = ["old-1", "new-1", "old-2", "new-2"]
QUEUES = {"dpr:nic0.model": NIC, "dpr:nic0.values.num-queues": "8"}
VM = {"devices": [{"id": "nic0", "model": NIC, "profile": PROFILE}]}


def decided(verdicts: Verdicts | None) -> list[str]:
    """Return the hosts that are allowed; each verdict has a reason of one line."""
    assert verdicts is not None
    assert all(verdict.reason and "\n" not in verdict.reason for verdict in verdicts.values())
    return [host for host, verdict in verdicts.items() if verdict.is_allowed]


def reasons(verdicts: Verdicts | None) -> set[str]:
    """Return the reasons; no host is allowed."""
    assert decided(verdicts) == []
    return {verdict.reason for verdict in (verdicts or {}).values()}


def test_hosts_that_can_recreate_the_devices_are_allowed_and_others_have_a_reason(ask: Ask, fleet: Server) -> None:
    verdicts = ask(fleet.url).about_properties(PROPERTIES, ALL)
    assert decided(verdicts) == ["new-1", "new-2"]
    assert verdicts is not None
    assert list(verdicts) == ALL
    reason = f"nic0: The profile sets num-queues=8, but {OLD} allows 1-4. (value-not-allowed)"
    assert list(by_reason(verdicts)) == [f"old-1, old-2: {reason}"]


def test_a_vm_without_such_devices_needs_no_question(ask: Ask) -> None:
    assert ask("http://192.0.2.1").about_properties({"hw:cpu_policy": "dedicated"}, ALL) is None


def test_what_the_source_host_runs_counts(ask: Ask, fleet: Server) -> None:
    asker = ask(fleet.url)
    assert decided(asker.about_properties(QUEUES, ALL, source="new-1")) == ["new-1", "new-2"]
    # A device that cannot exist where it is said to be is compatible with nothing.
    assert decided(asker.about_properties(QUEUES, ALL, source="old-1")) == []
    release = {**QUEUES, "dpr:nic0.release": NEW}
    assert decided(asker.about_properties(release, ALL)) == ["new-1", "new-2"]
    # That host does not run the release that the device names.
    assert decided(asker.about_properties(release, ALL, source="old-1")) == []


def test_unknown_names_allow_no_host(ask: Ask, fleet: Server) -> None:
    asker = ask(fleet.url)
    for properties, source, code in (
        ({"dpr:nic0.model": "vendor-a.com/unheard-of"}, "new-1", "unknown-model"),
        ({"dpr:nic0.model": NIC, "dpr:nic0.profile": "vendor-a.com/unheard-of"}, None, "unknown-profile"),
        (QUEUES, "gone", "unknown-host"),
        ({"dpr:nic0.model": NIC}, None, "source-unknown"),
    ):
        (reason,) = reasons(asker.about_properties(properties, ["new-1", "new-2"], source=source))
        assert code in reason
    verdicts = asker.about_properties(PROPERTIES, ["new-1", "gone"])
    assert decided(verdicts) == ["new-1"]
    assert verdicts is not None
    assert "No host gone is registered" in verdicts["gone"].reason


def test_devices_that_cannot_be_read_allow_no_host(ask: Ask, fleet: Server) -> None:
    (reason,) = reasons(ask(fleet.url).about_properties({"dpr:nic0.modle": NIC}, ALL))
    assert 'dpr:nic0.modle is unknown (did you mean "model"?)' in reason
    (reason,) = reasons(ask(fleet.url).about({"devices": []}, ALL))
    assert "vms.0.devices: List should have at least 1 item" in reason
    (reason,) = reasons(ask(fleet.url).about({"devices": 7}, ALL))
    assert "vms.0.devices: Input should be a valid list" in reason


def test_no_host_is_allowed_while_the_registry_is_away_and_again_when_it_is_back(ask: Ask, own_fleet: Server) -> None:
    asker = ask(own_fleet.url)
    assert decided(asker.about_properties(PROPERTIES, ALL)) == ["new-1", "new-2"]
    own_fleet.kill()
    (reason,) = reasons(asker.about_properties(PROPERTIES, ALL))
    assert "cannot be reached" in reason
    own_fleet.start()
    assert decided(asker.about_properties(PROPERTIES, ALL)) == ["new-1", "new-2"]


def test_a_registry_that_hangs_holds_the_scheduler_no_longer_than_the_limit(ask: Ask) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        started = time.monotonic()
        (reason,) = reasons(ask(f"http://127.0.0.1:{server.getsockname()[1]}", seconds=0.3).about(VM, ALL))
        assert time.monotonic() - started < 2
    assert reason == "the registry gave no answer within 0.3 seconds"


def test_a_registry_that_answers_byte_by_byte_holds_the_scheduler_no_longer_than_the_limit(ask: Ask) -> None:
    def drip(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            try:
                for byte in b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000:
                    connection.send(bytes([byte]))
                    time.sleep(0.05)
            except OSError:
                pass

    with socket.create_server(("127.0.0.1", 0)) as server:
        Thread(target=drip, args=(server,), daemon=True).start()
        started = time.monotonic()
        (reason,) = reasons(ask(f"http://127.0.0.1:{server.getsockname()[1]}", seconds=0.5).about(VM, ALL))
        assert time.monotonic() - started < 2
    assert reason == "the registry gave no answer within 0.5 seconds"


@pytest.mark.parametrize(("url", "token"), [("http://[::1", None), ("ftp://registry", None), ("http://a", "tökén\n")])
def test_wrong_settings_allow_no_host(ask: Ask, url: str, token: str | None) -> None:
    assert len(reasons(ask(url, token).about(VM, ALL))) == 1


def answering(*results: Mapping[str, Any], times: Iterable[str | None] = ()) -> Any:
    """Return what connects to a registry that gives these results, whatever it is asked.

    times: of the memory that each answer is from; None, and afterwards: it is from the database.
    """
    left = iter(times)

    class Given(Registry):
        def ask(self, question: object) -> Answer:
            del question
            answer = {"registry": "r", "seq": 1, "link": "l", "as_of": next(left, None), "results": list(results)}
            return Answer.model_validate(answer)

    return Given


def device(identifier: str = "nic0", **fields: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {"problems": [], "warnings": [], "carry_over": [], "unchecked": [], "remedies": []}
    return {"id": identifier, "compatible": True, "release": NEW, **empty, **fields}


def test_an_answer_that_lacks_a_host_or_a_device_does_not_allow_it(ask: Ask) -> None:
    complete = {"destination": "a", "compatible": True, "devices": [device()]}
    asker = ask("http://registry", connect=answering(complete, {**complete, "destination": "b", "devices": []}))
    verdicts = asker.about(VM, ["a", "b", "c"])
    assert decided(verdicts) == ["a"]
    assert verdicts["b"].reason == "nic0: the registry's answer does not mention the device"
    assert verdicts["c"].reason == "the registry's answer does not mention the host"


def test_answers_from_memory_are_logged_once_until_the_database_is_back(
    ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = "2026-07-01T12:00:00Z", "2026-07-02T12:00:00Z"
    times = [None, first, first, None, second, second]
    result = {"destination": "a", "compatible": True, "devices": [device()]}
    asker = ask("http://registry", connect=answering(result, times=times))
    for _ in range(6):
        assert decided(asker.about(VM, ["a"])) == ["a"]
    assert [(record.levelname, record.message) for record in caplog.records if record.name.endswith("asking")] == [
        ("WARNING", f"the registry's database is away: it answers from memory, as of {time}")
        for time in (first, second)
    ]


def test_a_host_is_not_allowed_unless_the_answer_says_so_of_the_host_and_of_each_device(ask: Ask) -> None:
    no = {"destination": "a", "compatible": False, "devices": [device()]}
    other = {"destination": "b", "compatible": True, "devices": [device(compatible=False)]}
    assert decided(ask("http://registry", connect=answering(no, other)).about(VM, ["a", "b"])) == []


def test_what_has_to_be_set_explicitly_is_a_reason_unless_somebody_sets_it(ask: Ask) -> None:
    warning = {"code": "must-be-set", "message": "Set queues=8 explicitly."}
    result = {"destination": "a", "compatible": True, "devices": [device(warnings=[warning], unchecked=["x", "y"])]}
    asker = ask("http://registry", connect=answering(result))
    assert reasons(asker.about(VM, ["a"])) == {"nic0: Set queues=8 explicitly. (must-be-set)"}
    asker = ask("http://registry", connect=answering(result), allow_must_be_set=True)
    verdict = asker.about(VM, ["a"])["a"]
    assert (verdict.is_allowed, verdict.warnings, verdict.unchecked) == (True, 1, 2)


def test_an_error_of_the_adapter_itself_allows_no_host(ask: Ask) -> None:
    def broken(*_: object, **__: object) -> Registry:
        raise TypeError("a mistake\nin two lines")  # noqa: EM101, TRY003 (the words do not matter)

    (reason,) = reasons(ask("http://registry", connect=broken).about(VM, ALL))
    assert reason == "the registry was not asked: TypeError: a mistake; in two lines"


def test_very_many_hosts_are_asked_about_in_a_few_questions(ask: Ask, fleet: Server) -> None:
    hosts = [f"gone-{number}" for number in range(10_001)]
    verdicts = ask(fleet.url, seconds=60).about(VM, [*hosts, "new-1"])
    assert decided(verdicts) == ["new-1"]


def test_a_closed_registry_needs_the_token(ask: Ask, own_fleet: Server) -> None:
    own_fleet.kill()
    own_fleet._settings["read"] = "token"
    own_fleet.start()
    (reason,) = reasons(ask(own_fleet.url).about(VM, ALL))
    assert "unauthorized" in reason
    with admin(own_fleet) as registry:
        token = registry.post("/tokens", {"role": "reader", "name": "nova"})["token"]
    assert decided(ask(own_fleet.url, token).about(VM, ALL)) == ["new-1", "new-2"]


def test_policy_and_log_lines(ask: Ask) -> None:
    assert ask("http://registry", policy=Policy.PERMISSIVE)._policy is Policy.PERMISSIVE
    verdicts = {f"h{number}": Verdict(is_allowed=False, reason="why") for number in range(7)}
    assert list(by_reason(verdicts)) == ["h0, h1, h2, h3, h4 and 2 more: why"]
