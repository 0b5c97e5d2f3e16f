"""The scriptlet places described instances by its tables alone; it runs here in a Starlark that is not Incus' own."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import starlark
from hypothesis import given
from hypothesis import strategies as st

from app.adapters.asking import Asker, Verdict, refused
from app.adapters.following import Look
from app.adapters.incus import SETTING, Incus, IncusError, Placement, Table, scriptlet_of
from tests.adapters.conftest import NIC, PROFILE, PROPERTIES
from tests.running.conftest import Server

_CONFIG = {f"user.{key}": value for key, value in PROPERTIES.items()}
_DESCRIPTION = f"dpr:nic0.model={NIC}\ndpr:nic0.profile={PROFILE}"
_ALLOWED = Verdict(is_allowed=True, reason="it can re-create all devices")
_NO = Verdict(is_allowed=False, reason="nic0: only 4 queues (value-not-allowed)")
_OTHER = Verdict(is_allowed=False, reason="nic0: retired (release-retired)")
_TABLE: Table = {
    (_DESCRIPTION, ""): {"old-1": _NO, "new-1": _ALLOWED, "new-2": _ALLOWED},
    (_DESCRIPTION, "new-1"): {"old-1": _NO, "new-1": _ALLOWED, "new-2": _ALLOWED},
}
_UPTIMES = {"old-1": 1000, "new-1": 2000, "new-2": 3000}
# What Incus gives a scriptlet, as far as this one uses it.
_BUILTINS = """
def get_cluster_member_state(member):
    return struct(sysinfo = struct(uptime = NOW[member]))
def get_instances(project = "", location = ""):
    return [struct(**instance) for instance in INSTANCES if instance["project"] == project]
def get_instances_count(project = "", location = "", pending = False):
    return COUNTS.get(location, 0)
"""


@dataclass
class Placed:
    """What a scriptlet did. target: empty if Incus decides. refusal: empty if it did not refuse."""

    target: str = ""
    refusal: str = ""
    warned: list[str] = field(default_factory=list)


def place(  # noqa: PLR0913 (what Incus gives a scriptlet)
    text: str,
    config: Mapping[str, str] | None,
    candidates: Sequence[str] = ("old-1", "new-1", "new-2"),
    *,
    reason: str = "new",
    live: bool = False,
    location: str = "new-1",
    now: Mapping[str, int] = _UPTIMES,
    counts: Mapping[str, int] | None = None,
) -> Placed:
    """Call a scriptlet as Incus does."""
    placed = Placed()
    module = starlark.Module()
    module.add_callable("log_warn", lambda *words: placed.warned.append("".join(map(str, words))))
    module.add_callable("log_error", lambda *_: None)
    module.add_callable("set_target", lambda member: setattr(placed, "target", member))
    instances = [{"project": "default", "name": "vm1", "location": location}]
    values = {"NOW": now, "INSTANCES": instances, "COUNTS": counts or {}, "CONFIG": config or {}}
    members = ", ".join(f'struct(server_name = "{member}")' for member in candidates)
    call = (
        f'REQUEST = struct(project = "default", name = "vm1", reason = "{reason}", config = CONFIG, '
        f"source = struct(live = {live}))\ninstance_placement(REQUEST, [{members}])"
    )
    data = "\n".join(f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in values.items())
    library = starlark.Globals.extended_by([starlark.LibraryExtension.StructType])
    try:
        # The standard language, as Incus has it: its functions are known before the scriptlet's.
        program = starlark.parse("scriptlet", f"{data}\n{_BUILTINS}\n{text}\n{call}", starlark.Dialect.standard())
        starlark.eval(module, program, library)
    except starlark.StarlarkError as error:
        placed.refusal = "\n".join(re.findall(r"fail: (device-profile registry: .*)", str(error))) or str(error)
    return placed


def test_an_instance_goes_where_its_devices_can_be_re_created() -> None:
    text = scriptlet_of(_TABLE, _UPTIMES)
    assert place(text, _CONFIG).target == "new-1"
    assert place(text, _CONFIG, counts={"new-1": 2, "new-2": 1, "old-1": 0}).target == "new-2"
    assert place(text, _CONFIG).warned == [f"device-profile registry: default/vm1 not on old-1: {_NO.reason}"]


def test_without_an_able_member_the_reasons_are_said() -> None:
    placed = place(scriptlet_of(_TABLE, _UPTIMES), _CONFIG, ["old-1"])
    assert placed.target == ""
    assert placed.refusal == f"device-profile registry: default/vm1 is not placed: old-1: {_NO.reason}"


def test_a_reason_is_said_once_for_all_its_members() -> None:
    table: Table = {(_DESCRIPTION, ""): {**dict.fromkeys(("new-1", "new-2"), _NO), "old-1": _OTHER}}
    placed = place(scriptlet_of(table, _UPTIMES), _CONFIG, ["old-1", "new-2", "new-1"])
    assert placed.refusal.endswith(f" is not placed: new-1, new-2: {_NO.reason}; old-1: {_OTHER.reason}")


def test_what_is_not_described_is_left_to_incus() -> None:
    text = scriptlet_of(_TABLE, {})
    assert place(text, {"limits.cpu": "2"}) == Placed()
    assert place(text, None) == Placed()


@pytest.mark.parametrize(
    ("options", "refusal"),
    [
        ({"config": {**_CONFIG, "user.dpr:nic0.values.num-queues": "2"}}, "its devices are not known yet"),
        ({"candidates": ["new-9"], "now": {"new-9": 5}}, "has restarted"),
        ({"candidates": ["new-1"], "reason": "evacuation"}, "there is no other member"),
        ({"candidates": []}, "there is no other member"),
        ({"candidates": ["new-2"], "reason": "relocation", "location": "old-1"}, "its devices are not known yet"),
        ({"live": True}, "it comes from another server"),
        ({"now": {**_UPTIMES, "old-1": 1901}}, "written more than 900 seconds ago"),
        ({"now": {**_UPTIMES, "new-2": 3901}}, "written more than 900 seconds ago"),
        # A member that restarted has passed the uptime of the writing again; another one knows better.
        ({"now": {"old-1": 1010, "new-1": 99_000, "new-2": 99_000}}, "written more than 900 seconds ago"),
        # All were restarted meanwhile.
        ({"now": {"old-1": 999, "new-1": 1999, "new-2": 2999}}, "has restarted"),
    ],
)
def test_what_the_tables_do_not_say_is_refused(options: dict[str, Any], refusal: str) -> None:
    placed = place(scriptlet_of(_TABLE, _UPTIMES), **{"config": _CONFIG, **options})
    assert placed.target == ""
    assert refusal in placed.refusal


def test_a_member_that_restarted_gets_nothing_until_it_is_written_again() -> None:
    text = scriptlet_of(_TABLE, _UPTIMES)
    placed = place(text, _CONFIG, now={**_UPTIMES, "new-1": 1999}, counts={"new-2": 9})
    assert placed.target == "new-2"
    assert any("new-1: the member has restarted" in line for line in placed.warned)


def test_no_lease_is_written_from_an_uptime_below_the_lease(fleet: Server, ask: Callable[..., Asker]) -> None:
    for uptime, refusal in ((899, "has restarted"), (900, "")):
        settings: dict[str, str] = {}
        Placement(_cluster([{"config": _CONFIG}], settings=settings, uptime=uptime), ask(fleet.url)).renew()
        now = {"new-1": uptime}
        assert refusal in place(settings[SETTING], _CONFIG, ["new-1"], now=now).refusal
        assert bool(place(settings[SETTING], _CONFIG, ["new-1"], now=now).target) == (not refusal)


def test_what_the_registry_has_not_confirmed_for_a_lease_is_refused(
    fleet: Server, ask: Callable[..., Asker], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, str] = {}
    time = [1000.0]
    monkeypatch.setattr("app.adapters.incus.monotonic", lambda: time[0])
    monkeypatch.setattr("app.adapters.following.time", SimpleNamespace(monotonic=lambda: time[0]))
    placement = Placement(_cluster([{"config": _CONFIG}], settings=settings), ask(fleet.url))

    def placed(seconds_later: int = 0) -> Placed:
        placement.renew()
        return place(settings[SETTING], _CONFIG, ["new-1"], now={"new-1": 7777 + seconds_later})

    placement.look(Look())
    assert placed().target == "new-1"
    # The feed's thread has died, or the registry's answer does not end. The scriptlet is as old as its confirmation.
    time[0] += 600
    assert placed(300).target == "new-1"
    assert "written more than 300 seconds ago" in placed(301).refusal
    time[0] += 301
    assert "the registry has confirmed nothing for more than 900 seconds" in placed().refusal
    placement.heard(None)
    assert placed(900).target == "new-1"


def test_a_member_that_the_registry_was_not_asked_about_is_refused() -> None:
    placed = place(scriptlet_of(_TABLE, {**_UPTIMES, "new-9": 1}), _CONFIG, ["new-9"], now={"new-9": 1})
    assert placed.refusal.endswith("new-9: the registry was not asked about this member")


def test_an_instance_that_leaves_a_member_does_not_return_to_it() -> None:
    placed = place(scriptlet_of(_TABLE, _UPTIMES), _CONFIG, ["new-1", "new-2"], reason="relocation")
    assert placed.target == "new-2"


def test_the_tables_hold_to_the_last_second() -> None:
    assert place(scriptlet_of(_TABLE, _UPTIMES), _CONFIG, now={**_UPTIMES, "old-1": 1900}).target == "new-1"


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(config=st.dictionaries(_TEXT.map("user.dpr:{}".format), _TEXT | st.text("\\\nn=", max_size=6), min_size=1))
def test_the_scriptlet_describes_devices_as_the_adapter_does(config: dict[str, str]) -> None:
    (description,) = _cluster([{"config": config}]).described()
    table: Table = {(description, ""): {"new-1": _ALLOWED}}
    assert place(scriptlet_of(table, _UPTIMES), config, ["new-1"]).target == "new-1"


def test_two_configurations_never_have_one_description() -> None:
    first = {"user.dpr:a": "1\ndpr:b=2"}
    second = {"user.dpr:a": "1", "user.dpr:b": "2"}
    assert len(_cluster([{"config": first}, {"config": second}]).described()) == 2


def test_reasons_are_cut_and_cannot_leave_their_string() -> None:
    reason = 'nic0: "quoted" \\ \N{SNOWMAN} ' + "x" * 400
    table: Table = {(_DESCRIPTION, ""): refused(["old-1"], reason)}
    placed = place(scriptlet_of(table, _UPTIMES), _CONFIG, ["old-1"])
    assert 'nic0: "quoted" \\ \N{SNOWMAN} xxx' in placed.refusal
    assert placed.refusal.endswith("x…")
    assert len(placed.refusal) < 400


def _cluster(
    profiles: Sequence[Mapping[str, Any]] = (),
    instances: Sequence[Mapping[str, Any]] = (),
    settings: dict[str, str] | None = None,
    members: Sequence[str] = ("old-1", "new-1"),
    uptime: int = 7777,
) -> Incus:
    """Return the API of a cluster in the form that the documentation of Incus states."""
    own = {} if settings is None else settings

    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if request.method == "PATCH":
            own.update(json.loads(request.content)["config"])
            return httpx.Response(200, json={"type": "sync", "metadata": {}})
        if path.endswith("/state"):
            return httpx.Response(200, json={"metadata": {"sysinfo": {"uptime": uptime}}})
        known: dict[str, Any] = {
            "/1.0": {"config": own},
            "/1.0/profiles": list(profiles),
            "/1.0/instances": list(instances),
            "/1.0/cluster/members": [{"server_name": member} for member in members],
        }
        if path not in known:
            return httpx.Response(404, json={"type": "error", "error": "not found"})
        return httpx.Response(200, json={"type": "sync", "metadata": known[path]})

    return Incus(transport=httpx.MockTransport(answer))


def test_a_scriptlet_of_somebody_else_is_kept(fleet: Server, ask: Callable[..., Asker]) -> None:
    settings = {SETTING: "def instance_placement(request, candidate_members):\n    return\n"}
    before = dict(settings)
    incus = _cluster([{"config": _CONFIG}], settings=settings)
    with pytest.raises(IncusError, match="somebody else"):
        Placement(incus, ask(fleet.url)).renew()
    assert settings == before
    Placement(incus, ask(fleet.url), replace=True).renew()
    assert place(settings[SETTING], _CONFIG, ["old-1", "new-1"], now={"old-1": 7777, "new-1": 7777}).target == "new-1"
    # What it has written itself, it renews.
    Placement(incus, ask(fleet.url)).renew()


def test_it_writes_only_what_is_new_or_due(
    fleet: Server, monkeypatch: pytest.MonkeyPatch, ask: Callable[..., Asker]
) -> None:
    settings: dict[str, str] = {}
    time = [0.0]
    monkeypatch.setattr("app.adapters.incus.monotonic", lambda: time[0])
    placement = Placement(_cluster([{"config": _CONFIG}], settings=settings), ask(fleet.url), 900)
    placement.renew()
    assert SETTING in settings
    settings.clear()
    # Somebody took it out.
    placement.renew()
    assert SETTING in settings
    mark = settings[SETTING] + "# untouched\n"
    written: list[str] = []
    monkeypatch.setattr(placement.incus, "set_scriptlet", written.append, raising=False)
    time[0] = 299.0
    placement.renew()
    assert written == []
    time[0] = 301.0
    placement.renew()
    assert len(written) == 1
    settings[SETTING] = mark
    placement.renew()
    assert len(written) == 2


def test_with_the_registry_away_nothing_is_allowed_and_it_is_asked_again_afterwards(
    fleet: Server, ask: Callable[..., Asker]
) -> None:
    settings: dict[str, str] = {}
    instances = [{"expanded_config": _CONFIG, "location": "old-1"}]
    placement = Placement(_cluster(instances=instances, settings=settings), ask(fleet.url))
    now = {"old-1": 7777, "new-1": 7777}
    placement.heard(ConnectionError("connection refused"))
    assert placement.wake.is_set()
    placement.renew()
    refusal = place(settings[SETTING], _CONFIG, ["old-1", "new-1"], now=now).refusal
    assert "the registry gave no answer: connection refused" in refusal
    placement.look(Look())
    placement.renew()
    assert place(settings[SETTING], _CONFIG, ["old-1", "new-1"], now=now).target == "new-1"


def test_a_question_that_failed_is_asked_again(ask: Callable[..., Asker]) -> None:
    settings: dict[str, str] = {}
    asker = ask("http://127.0.0.1:1")
    placement = Placement(_cluster([{"config": _CONFIG}], settings=settings), asker)
    placement.renew()
    now = {"old-1": 7777, "new-1": 7777}
    assert "the registry gave no answer" in place(settings[SETTING], _CONFIG, ["new-1"], now=now).refusal
    asked: list[object] = []

    def allow(*arguments: object, **_: object) -> Mapping[str, Verdict]:
        asked.append(arguments)
        return {"old-1": _ALLOWED, "new-1": _ALLOWED}

    placement.asker.about_properties = allow  # type: ignore[method-assign]
    for _ in range(3):
        placement.renew()
    # Once answered, it is not asked again until something changes.
    assert len(asked) == 1
    assert place(settings[SETTING], _CONFIG, ["new-1"], now=now).target == "new-1"


# httpcore leaves a socket that could not be connected to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_incus_that_is_away_is_an_error_in_one_sentence() -> None:
    with (
        closing(Incus(Path("/none/unix.socket"))) as incus,
        pytest.raises(IncusError, match=r"/none/unix.socket does not answer as Incus does"),
    ):
        incus.members()
