"""Placement's adapter, with a real Placement and a real registry: the right hosts are candidates, whatever happens."""

import random
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from threading import Event, Thread
from typing import Any

import pytest
import requests
from fastapi.testclient import TestClient

from app.adapters import placement_api
from app.adapters.accepted import Choice
from app.adapters.placement import Providers, TraitKeeper, WithdrawnError
from app.adapters.placement_api import Placement, PlacementError
from app.adapters.trait import PREFIX, trait_of
from app.client import Registry, RegistryError
from tests.adapters.conftest import NEW, NIC, OLD, PROFILE, Trickling, admin, endless, fill
from tests.adapters.openstack import PlacementServer, needs_placement, placement_in
from tests.cli.conftest import AppTransport
from tests.conftest import TOKEN, fresh_database, make_app
from tests.counts import full
from tests.running.conftest import Server

TRAIT = trait_of(PROFILE)
_PATIENCE_SECONDS = 30
_HOSTS = ("old-1", "old-2", "new-1", "new-2")

pytestmark = needs_placement


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlacementServer]:
    """Yield a Placement for all tests of the file."""
    with placement_in(tmp_path_factory.mktemp("placement")) as server:
        yield server


@pytest.fixture
def empty(shared: PlacementServer) -> Iterator[PlacementServer]:
    """Yield a Placement without providers."""
    yield shared
    shared.clear()


@pytest.fixture
def placement(empty: PlacementServer) -> PlacementServer:
    """Return a Placement that has a compute node for each host of the fleet, with traits of others."""
    for host in _HOSTS:
        empty.add(host, traits=["HW_CPU_X86_AVX2", "CUSTOM_GOLD"])
    return empty


@pytest.fixture
def alone(empty: PlacementServer) -> tuple[PlacementServer, str]:
    """Return a Placement with the compute node new-1 alone, and its uuid."""
    return empty, empty.add("new-1", traits=["HW_CPU_X86_AVX2"])


@pytest.fixture
def writer(request: pytest.FixtureRequest) -> Iterator[Registry]:
    """Yield a registry with the fleet, in this process, for one test alone; as the operator has it."""
    with (
        fresh_database("sqlite", request) as url,
        TestClient(make_app(url)) as service,
        Registry("http://testserver", TOKEN, transport=AppTransport(service)) as registry,
    ):
        fill(registry)
        yield registry


@pytest.fixture
def registry(writer: Registry) -> Registry:
    """Return the same registry as the adapter has it."""
    return Registry("http://testserver", retry_seconds=0, transport=writer._http._transport)


@pytest.fixture
def remote(own_fleet: Server) -> Iterator[Registry]:
    """Yield a registry with the fleet in a process of its own, as the adapter has it."""
    with Registry(own_fleet.url, retry_seconds=0, timeout_seconds=10) as client:
        yield client


def keeper_of(registry: Registry, placement: PlacementServer, **options: Any) -> TraitKeeper:
    return TraitKeeper(registry, placement.placement(), **options)


def nobody_lost_a_trait(placement: PlacementServer) -> bool:
    return placement.candidates(required="HW_CPU_X86_AVX2,CUSTOM_GOLD") == set(_HOSTS)


def until(is_so: Callable[[], bool], seconds: float = _PATIENCE_SECONDS) -> None:
    """Wait until a condition is met."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_candidates_are_the_hosts_that_accept_the_profile(registry: Registry, placement: PlacementServer) -> None:
    outcome = keeper_of(registry, placement).look()
    assert placement.candidates(required=TRAIT) == {"new-1", "new-2"}
    assert placement.candidates(required=f"!{TRAIT}") == {"old-1", "old-2"}
    assert outcome.profiles == {TRAIT: PROFILE}
    assert outcome.counts == {TRAIT: 2}
    refusal = f"{NIC}: The profile sets num-queues=8, but {OLD} allows 1-4. (value-not-allowed)"
    assert outcome.refusals == {(TRAIT, refusal): ["old-1", "old-2"]}
    assert {(change.provider.name, change.is_added) for change in outcome.changes} == {("new-1", True), ("new-2", True)}
    assert nobody_lost_a_trait(placement)


def test_a_second_look_changes_nothing(registry: Registry, placement: PlacementServer) -> None:
    keeper_of(registry, placement).look()
    keeper = keeper_of(registry, placement)
    assert keeper.look().changes == []
    assert keeper.look().changes == []


def test_each_change_of_the_registry_decides_who_is_a_candidate(
    writer: Registry, registry: Registry, placement: PlacementServer
) -> None:
    keeper = keeper_of(registry, placement)

    def candidates() -> set[str]:
        keeper.look()
        return placement.candidates(required=TRAIT)

    assert candidates() == {"new-1", "new-2"}
    writer.put("/hosts/old-1", {"releases": [NEW]})
    assert candidates() == {"old-1", "new-1", "new-2"}
    writer.put("/hosts/new-1", {"releases": [NEW], "restrict": {NIC: {"num-queues": [1, 2]}}})
    assert candidates() == {"old-1", "new-2"}
    writer.delete("/hosts/new-2")
    assert candidates() == {"old-1"}
    newer = {"models": {NIC: {"variables": {"num-queues": {"type": "int", "init_value": 8, "off_value": 1}}}}}
    writer.put("/releases/vendor-a.com/fw@3", {**newer, "profiles": [PROFILE]})
    writer.put("/hosts/old-2", {"releases": ["vendor-a.com/fw@3"]})
    assert candidates() == {"old-1", "old-2"}
    writer.patch(f"/releases/{NEW}", {"state": "retired"})
    assert candidates() == {"old-2"}
    erratum = {"release": "vendor-a.com/fw@3", "model": NIC, "description": "it forgets its queues"}
    erratum = writer.post("/errata", erratum)
    assert candidates() == set()
    writer.patch(f"/errata/{erratum['id']}", {"state": "withdrawn"})
    assert candidates() == {"old-2"}
    writer.patch(f"/profiles/{PROFILE}", {"state": "retired"})
    assert candidates() == set()
    writer.patch(f"/profiles/{PROFILE}", {"state": "published"})
    assert candidates() == {"old-2"}
    assert nobody_lost_a_trait(placement)


def test_a_new_profile_is_a_trait_that_no_host_needs_to_have(
    writer: Registry, registry: Registry, placement: PlacementServer
) -> None:
    keeper = keeper_of(registry, placement)
    keeper.look()
    writer.post("/profiles", {"name": "vendor-a.com/nic-4", "values": {NIC: {"num-queues": 4}}})
    # Only where a release lists it: the verdict is strict.
    keeper.look()
    assert placement.candidates(required=trait_of("vendor-a.com/nic-4")) == {"old-1", "old-2"}
    writer.patch(f"/releases/{OLD}", {"state": "retired"})
    keeper.look()
    assert placement.candidates(required=trait_of("vendor-a.com/nic-4")) == set()


@contextmanager
def running(keeper: TraitKeeper) -> Iterator[Thread]:
    """Run a keeper meanwhile; at the end it must stop, and nothing may have escaped."""
    stop = Event()
    escaped: list[BaseException] = []

    def run() -> None:
        try:
            keeper.run(stop, wait_seconds=1)
        except BaseException as error:  # noqa: BLE001 (none may escape)
            escaped.append(error)

    thread = Thread(target=run)
    thread.start()
    try:
        yield thread
        assert thread.is_alive()
    finally:
        stop.set()
        thread.join(_PATIENCE_SECONDS)
    assert not thread.is_alive()
    assert not escaped


def test_it_follows_the_registry(own_fleet: Server, remote: Registry, placement: PlacementServer) -> None:
    with running(keeper_of(remote, placement)), admin(own_fleet) as writer:
        until(lambda: placement.candidates(required=TRAIT) == {"new-1", "new-2"})
        writer.put("/hosts/old-1", {"releases": [NEW]})
        until(lambda: placement.candidates(required=TRAIT) == {"old-1", "new-1", "new-2"})
        writer.patch(f"/profiles/{PROFILE}", {"state": "retired"})
        until(lambda: placement.candidates(required=TRAIT) == set())
    assert nobody_lost_a_trait(placement)


def test_with_the_registry_killed_no_host_gets_or_keeps_a_wrong_trait(
    own_fleet: Server, remote: Registry, placement: PlacementServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "app.adapters")
    hold = 6.0
    with running(keeper_of(remote, placement, hold_seconds=hold)):
        until(lambda: placement.candidates(required=TRAIT) == {"new-1", "new-2"})
        own_fleet.kill()
        killed = time.monotonic()
        while time.monotonic() - killed < hold - 4:
            # What was true stays for the set time.
            assert placement.candidates(required=TRAIT) == {"new-1", "new-2"}
            time.sleep(0.2)
        until(lambda: placement.candidates(required=TRAIT) == set(), seconds=hold + 2)
        time.sleep(2)
        assert placement.candidates(required=TRAIT) == set()
        own_fleet.start()
        until(lambda: placement.candidates(required=TRAIT) == {"new-1", "new-2"})
    assert nobody_lost_a_trait(placement)
    removal = next(record.message for record in caplog.records if "removed from" in record.message)
    assert removal.startswith(f"{TRAIT} removed from new-1, new-2: the registry has given no answer for 6 seconds: ")
    assert "cannot be reached" in removal


def test_an_answer_that_never_ends_keeps_no_trait(registry: Registry, placement: PlacementServer) -> None:
    keeper_of(registry, placement).look()
    with endless() as url, Registry(url, retry_seconds=0, timeout_seconds=5) as client:
        with running(keeper_of(client, placement, hold_seconds=2.0)):
            until(lambda: placement.candidates(required=TRAIT) == set(), seconds=6)
        with pytest.raises(WithdrawnError, match="no answer for 1 seconds"):
            keeper_of(client, placement, hold_seconds=1.0).once()


def test_an_answer_that_never_ends_during_a_look_keeps_no_trait(
    own_fleet: Server, alone: tuple[PlacementServer, str]
) -> None:
    placement, uuid = alone
    hold = 3.0
    with endless(0.5) as url, Trickling(own_fleet.url, url) as registry:
        TraitKeeper(registry, placement.placement()).look()
        # Another node, whose trait is written, slowly, when the registry has just begun to trickle.
        placement.add("new-2")
        began: list[float] = []

        def trickle() -> None:
            began.append(time.monotonic())
            registry.trickles.set()
            time.sleep(hold / 2)

        # A third node comes after it, and the look asks the registry again.
        placement.add("old-1", traits=[TRAIT])
        session = Meddling(placement.session(), trickle, 1)
        with running(TraitKeeper(registry, Placement(session), hold_seconds=hold)):
            until(lambda: bool(began))
            until(lambda: placement.candidates(required=TRAIT) == set(), seconds=hold + 3)
            assert TRAIT not in placement.traits(uuid)


class Recalling(Registry):
    """A registry whose database is away, so that it answers from memory."""

    def get(self, path: str, **parameters: Any) -> Any:
        """Return an answer as of a time."""
        answer = super().get(path, **parameters)
        return {**answer, "as_of": "2026-11-28T00:00:00Z"} if path == "/support-matrix" else answer


def test_answers_from_memory_confirm_nothing(writer: Registry, registry: Registry, placement: PlacementServer) -> None:
    keeper_of(registry, placement).look()
    with Recalling("http://testserver", retry_seconds=0, transport=writer._http._transport) as recalling:
        with pytest.raises(RegistryError, match="from memory, as of 2026"):
            keeper_of(recalling, placement).look()
        with pytest.raises(WithdrawnError, match="from memory"):
            keeper_of(recalling, placement, hold_seconds=1.0).once()
    assert placement.candidates(required=TRAIT) == set()


def test_once_tries_again_for_the_set_time_and_then_removes_the_traits(
    own_fleet: Server, remote: Registry, placement: PlacementServer
) -> None:
    keeper_of(remote, placement).once()
    own_fleet.kill()
    with pytest.raises(WithdrawnError) as caught:
        keeper_of(remote, placement, hold_seconds=2.0).once()
    assert {change.provider.name for change in caught.value.changes} == {"new-1", "new-2"}
    assert placement.candidates(required=TRAIT) == set()
    assert nobody_lost_a_trait(placement)
    Thread(target=own_fleet.start).start()
    # It waits for a registry that starts.
    assert len(keeper_of(remote, placement, hold_seconds=60.0).once().changes) == 2


def test_with_placement_away_it_tries_again_and_heals(
    own_fleet: Server, remote: Registry, placement: PlacementServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "app.adapters")
    with running(keeper_of(remote, placement, hold_seconds=3.0)), admin(own_fleet) as writer:
        until(lambda: placement.candidates(required=TRAIT) == {"new-1", "new-2"})
        placement.kill()
        writer.put("/hosts/old-1", {"releases": [NEW]})
        writer.delete("/hosts/new-1")
        time.sleep(5)
        placement.start()
        until(lambda: placement.candidates(required=TRAIT) == {"old-1", "new-2"})
    assert "Placement cannot be reached" in caplog.text
    placement.kill()
    with pytest.raises(PlacementError, match="cannot be reached"):
        keeper_of(remote, placement).once()
    placement.start()


class Meddling:
    """A session that lets others change a provider just before some of our writes."""

    def __init__(self, session: placement_api.Session, meddle: Callable[[], None], times: int) -> None:
        self._session = session
        self._meddle = meddle
        self.times = times
        self.writes = 0

    def request(self, url: str, method: str, **options: Any) -> Any:
        """Send a request."""
        if method == "PUT" and url.startswith("/resource_providers/"):
            self.writes += 1
            if self.times > 0:
                self.times -= 1
                self._meddle()
        return self._session.request(url, method, **options)


@pytest.mark.parametrize("times", [1, 4])
def test_what_others_change_at_the_same_time_is_kept(
    registry: Registry, alone: tuple[PlacementServer, str], times: int
) -> None:
    placement, uuid = alone
    session = Meddling(
        placement.session(),
        lambda: placement.put_traits(uuid, ["HW_CPU_X86_AVX", f"CUSTOM_ROUND_{session.times}"]),
        times,
    )
    TraitKeeper(registry, Placement(session)).look()
    assert placement.traits(uuid) == {"HW_CPU_X86_AVX", "CUSTOM_ROUND_0", TRAIT}
    assert session.writes == times + 1


class Colliding(Meddling):
    """Others write at the same moment as we do, so Placement answers 500: it does not expect that (seen in 16.0)."""

    def request(self, url: str, method: str, **options: Any) -> Any:
        """Send a request; a write that others interrupt has no effect."""
        if method == "PUT" and url.startswith("/resource_providers/") and self.times > 0:
            self.times -= 1
            self._meddle()
            response = requests.Response()
            response.status_code = 500
            return response
        return super().request(url, method, **options)


def test_a_write_at_the_same_moment_is_repeated(registry: Registry, alone: tuple[PlacementServer, str]) -> None:
    placement, uuid = alone
    session = Colliding(placement.session(), lambda: placement.put_traits(uuid, ["HW_CPU_X86_AVX"]), 2)
    TraitKeeper(registry, Placement(session)).look()
    assert placement.traits(uuid) == {"HW_CPU_X86_AVX", TRAIT}


def test_what_others_change_between_two_looks_is_put_right(
    registry: Registry, alone: tuple[PlacementServer, str]
) -> None:
    placement, uuid = alone
    keeper = keeper_of(registry, placement)
    keeper.look()
    placement.put_traits(uuid, ["CUSTOM_GOLD", f"{PREFIX}OTHER"])
    keeper.look()
    assert placement.traits(uuid) == {"CUSTOM_GOLD", TRAIT}


def test_what_is_no_longer_true_is_removed_before_anything_is_added(
    writer: Registry, registry: Registry, placement: PlacementServer
) -> None:
    keeper_of(registry, placement).look()
    writer.put("/hosts/old-1", {"releases": [NEW]})
    writer.put("/hosts/old-2", {"releases": [NEW]})
    writer.put("/hosts/new-2", {"releases": [OLD]})
    seen: list[set[str]] = []
    meddling = Meddling(placement.session(), lambda: seen.append(placement.candidates(required=TRAIT)), 9)
    TraitKeeper(registry, Placement(meddling)).look()
    assert seen[:2] == [{"new-1", "new-2"}, {"new-1"}]
    assert placement.candidates(required=TRAIT) == {"new-1", "old-1", "old-2"}


def test_a_provider_that_others_never_leave_alone_does_not_stop_the_rest(
    registry: Registry, alone: tuple[PlacementServer, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "app.adapters")
    placement, uuid = alone
    other = placement.add("new-2")
    numbers = iter(range(1000))

    def meddle() -> None:
        placement.put_traits(uuid, [f"CUSTOM_ROUND_{next(numbers)}"])

    with pytest.raises(PlacementError, match=r"1 of 2 providers could not be changed; new-1: Placement answered 409"):
        TraitKeeper(registry, Placement(OnlyOne(placement.session(), meddle, uuid))).look()
    assert placement.traits(uuid) == {"CUSTOM_ROUND_4"}
    assert placement.traits(other) == {TRAIT}
    assert f"{TRAIT} added to new-2" in caplog.text


class OnlyOne(Meddling):
    """Others change one provider all the time."""

    def __init__(self, session: placement_api.Session, meddle: Callable[[], None], uuid: str) -> None:
        super().__init__(session, lambda: None, 0)
        self._uuid = uuid
        self._change = meddle

    def request(self, url: str, method: str, **options: Any) -> Any:
        """Send a request."""
        if method == "PUT" and self._uuid in url:
            self._change()
        return super().request(url, method, **options)


@pytest.mark.parametrize(("hold", "expected"), [(60.0, {"new-1", "new-2"}), (1.0, {"new-1"})])
def test_killed_between_two_writes_the_registry_is_believed_for_the_set_time(
    own_fleet: Server, remote: Registry, placement: PlacementServer, hold: float, expected: set[str]
) -> None:
    def kill() -> None:
        own_fleet.kill()
        time.sleep(1)

    keeper = TraitKeeper(remote, Placement(Meddling(placement.session(), kill, 1)), hold_seconds=hold)
    if hold > 1:
        keeper.look()
    else:
        with pytest.raises(RegistryError, match="cannot be reached"):
            keeper.look()
    # These were true when it was killed.
    assert placement.candidates(required=TRAIT) == expected


def test_an_answer_that_is_outdated_before_all_is_done_is_used_no_more(
    writer: Registry, registry: Registry, placement: PlacementServer
) -> None:
    def change() -> None:
        writer.put("/hosts/new-2", {"releases": [OLD]})
        time.sleep(1)

    keeper = TraitKeeper(registry, Placement(Meddling(placement.session(), change, 1)), hold_seconds=2)
    with pytest.raises(PlacementError, match="the registry has changed while traits were changed"):
        keeper.look()
    assert placement.candidates(required=TRAIT) == {"new-1"}
    keeper.look()
    assert placement.candidates(required=TRAIT) == {"new-1"}


def test_many_providers_can_take_longer_than_traits_stay(registry: Registry, placement: PlacementServer) -> None:
    keeper = TraitKeeper(
        registry, Placement(Meddling(placement.session(), lambda: time.sleep(0.8), 9)), hold_seconds=1.0
    )
    assert len(keeper.once().changes) == 2
    assert placement.candidates(required=TRAIT) == {"new-1", "new-2"}


def test_a_provider_or_a_trait_that_is_deleted_meanwhile_does_no_harm(
    registry: Registry, alone: tuple[PlacementServer, str]
) -> None:
    placement, uuid = alone
    other = placement.add("new-2")
    keeper = TraitKeeper(registry, Placement(Meddling(placement.session(), lambda: placement.delete(uuid), 1)))
    keeper.look()
    assert placement.traits(other) == {TRAIT}
    assert keeper.look().changes == []


def test_of_several_adapters_at_once_none_does_harm(registry: Registry, placement: PlacementServer) -> None:
    barrier = threading.Barrier(3)
    failures: list[Exception] = []

    def look() -> None:
        keeper = keeper_of(registry, placement)
        barrier.wait()
        try:
            keeper.look()
        except Exception as error:  # noqa: BLE001 (shown below)
            failures.append(error)

    threads = [Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert placement.candidates(required=TRAIT) == {"new-1", "new-2"}
    assert nobody_lost_a_trait(placement)


def test_traits_that_nobody_confirms_are_removed(registry: Registry, alone: tuple[PlacementServer, str]) -> None:
    placement, uuid = alone
    stray = placement.add("stray", traits=[TRAIT, "CUSTOM_GOLD"])
    placement.put_traits(uuid, [f"{PREFIX}VENDOR_COM_OTHER"])
    changes = keeper_of(registry, placement).look().changes
    assert {(change.provider.name, change.trait, change.is_added): change.reason for change in changes} == {
        ("stray", TRAIT, False): "no host with its name is registered",
        ("new-1", f"{PREFIX}VENDOR_COM_OTHER", False): "it is the trait of no chosen profile",
        ("new-1", TRAIT, True): f"the host accepts {PROFILE}",
    }
    assert placement.traits(stray) == {"CUSTOM_GOLD"}


def test_a_removal_says_what_the_registry_says(
    writer: Registry, registry: Registry, alone: tuple[PlacementServer, str]
) -> None:
    placement, _ = alone
    keeper = keeper_of(registry, placement)
    keeper.look()
    writer.put("/hosts/new-1", {"releases": [OLD]})
    (change,) = keeper.look().changes
    assert not change.is_added
    assert "num-queues" in change.reason
    assert "(value-not-allowed)" in change.reason


def test_providers_stand_for_hosts_by_suffix_or_by_a_table(registry: Registry, empty: PlacementServer) -> None:
    providers = Providers(suffix=".example.org", hosts={"compute-9": "new-2", "new-1": "old-1"})
    for name in (
        "new-1.example.org",
        "old-1.example.org",
        "compute-9",
        "new-1",
        "new-2",
        "shared-disk.example.org",
    ):
        empty.add(name)
    outcome = keeper_of(registry, empty, providers=providers).look()
    assert empty.candidates(required=TRAIT) == {"new-1.example.org", "compute-9"}
    (refused,) = outcome.refusals.values()
    assert refused == ["new-1", "old-1.example.org"]
    assert outcome.unmatched == ["new-2", "shared-disk.example.org"]
    assert outcome.absent == ["old-2"]


def test_a_dry_look_changes_nothing(registry: Registry, placement: PlacementServer) -> None:
    outcome = keeper_of(registry, placement).look(is_dry=True)
    assert {change.provider.name for change in outcome.changes} == {"new-1", "new-2"}
    assert not placement.placement().existing_traits()


def test_the_choice_of_profiles_decides_which_traits_there_are(
    writer: Registry, registry: Registry, placement: PlacementServer
) -> None:
    for number in (2, 4):
        writer.post("/profiles", {"name": f"vendor-a.com/nic-{number}", "values": {NIC: {"num-queues": number}}})
    writer.put("/vendors/b.com", {})
    writer.post("/profiles", {"name": "b.com/nic", "values": {NIC: {}}})
    model = {"models": {"b.com/gpu": {"variables": {"vram": {"type": "int", "init_value": 4}}}}}
    writer.put(
        "/releases/b.com/gpu-driver@1",
        {**model, "profiles": [{"name": "b.com/gpu-1", "values": {"b.com/gpu": {"vram": 4}}}]},
    )

    def chosen(**choice: Any) -> set[str]:
        return set(keeper_of(registry, placement, choice=Choice(**choice)).look().profiles.values())

    assert chosen() == {"vendor-a.com/nic-2", "vendor-a.com/nic-4", PROFILE, "b.com/nic", "b.com/gpu-1"}
    assert chosen(vendors=["b.com"]) == {"b.com/nic", "b.com/gpu-1"}
    assert chosen(models=[NIC], vendors=["b.com"]) == {"b.com/nic"}
    assert chosen(models=["b.com/gpu"]) == {"b.com/gpu-1"}
    assert chosen(patterns=["*-4", "b.com/n*"]) == {"vendor-a.com/nic-4", "b.com/nic"}
    assert chosen(patterns=["vendor-a.com/nic-16"]) == set()


def test_a_publication_displaces_no_trait_where_there_are_too_many(
    writer: Registry, registry: Registry, placement: PlacementServer, caplog: pytest.LogCaptureFixture
) -> None:
    choice = Choice(limit=1)
    assert keeper_of(registry, placement, choice=choice).look().profiles == {TRAIT: PROFILE}
    assert "left out" not in caplog.text
    writer.post("/profiles", {"name": "vendor-a.com/a", "values": {NIC: {}}})
    assert keeper_of(registry, placement, choice=choice).look().profiles == {TRAIT: PROFILE}
    assert "1 of 2 profiles are left out, such as vendor-a.com/a" in caplog.text
    writer.patch(f"/profiles/{PROFILE}", {"state": "retired"})
    assert keeper_of(registry, placement, choice=choice).look().profiles == {
        trait_of("vendor-a.com/a"): "vendor-a.com/a"
    }
    assert placement.candidates(required=TRAIT) == set()


class Halving(Registry):
    """A registry that answers only small questions."""

    most = 1
    code = "over-budget"

    def get(self, path: str, **parameters: Any) -> Any:
        """Refuse a matrix of more than so many cells."""
        if path == "/support-matrix":
            cells = len(parameters["host"]) * len(parameters["profile"])
            self.asked.append(cells)
            if cells > self.most:
                message = "too much work"
                raise RegistryError(message, {"status": 422, "code": self.code})
        return super().get(path, **parameters)

    @cached_property
    def asked(self) -> list[int]:
        """The numbers of cells of the questions."""
        return []


def test_a_question_beyond_the_budget_is_asked_in_parts(writer: Registry, placement: PlacementServer) -> None:
    writer.post("/profiles", {"name": "vendor-a.com/nic-4", "values": {NIC: {"num-queues": 4}}})
    with Halving("http://testserver", retry_seconds=0, transport=writer._http._transport) as registry:
        keeper_of(registry, placement).look()
        assert registry.asked == [4, 2, 1, 1, 2, 1, 1]
        assert placement.candidates(required=TRAIT) == {"new-1", "new-2"}
        assert placement.candidates(required=trait_of("vendor-a.com/nic-4")) == {"old-1", "old-2"}
        # What is too much even alone is not known, so it is not accepted.
        registry.most = 0
        reasons = {change.reason for change in keeper_of(registry, placement).look().changes}
        assert "the registry does not say whether the host accepts vendor-a.com/nic-8" in reasons
        assert placement.candidates(required=TRAIT) == set()
        # Another refusal is no answer at all.
        registry.code = "invalid"
        with pytest.raises(RegistryError):
            keeper_of(registry, placement).look()


def test_a_group_of_cyborg_needs_the_trait_on_the_device(
    writer: Registry, registry: Registry, empty: PlacementServer
) -> None:
    for host in ("old-1", "new-1", "new-2"):
        uuid = empty.add(host)
        traits = ["CUSTOM_FPGA_INTEL"] if host == "new-2" else ["CUSTOM_FPGA_INTEL", "OWNER_CYBORG"]
        empty.add(f"{host}_0000:3b:00.0", parent=uuid, traits=traits, inventory={"FPGA": 1})
    group = {"resources_device_profile_0": "FPGA:1", "required_device_profile_0": TRAIT}
    flavor = {"resources_device_profile_0": "FPGA:1", "required": TRAIT}
    keeper_of(registry, empty).look()
    # The group of a device profile is one provider, so the host's own trait does not count; the flavor's does.
    assert empty.candidates(**group) == set()
    assert empty.candidates(**flavor) == {"new-1", "new-2"}
    keeper = keeper_of(registry, empty, providers=Providers(nested=["OWNER_CYBORG"]))
    keeper.look()
    assert empty.candidates(**group) == {"new-1"}
    unit = {"id": "pci/0000:3b:00.0", "releases": [NEW], "available": 1}
    writer.put("/hosts/new-1", {"releases": [NEW], "units": [unit, {**unit, "id": "pci/0000:5e:00.0"}]})
    keeper.look()
    assert empty.candidates(**group) == {"new-1"}
    # One of two cards: nobody knows which of them a nested provider is.
    writer.put("/hosts/new-1", {"releases": [NEW], "units": [unit, {"id": "x", "releases": [OLD]}]})
    (change,) = keeper.look().changes
    assert (change.provider.name, change.is_added) == ("new-1_0000:3b:00.0", False)
    assert "the units of the host differ" in change.reason
    assert empty.candidates(**group) == set()
    assert empty.candidates(**flavor) == {"new-1", "new-2"}
    writer.put("/hosts/new-1", {"releases": [NEW]})
    keeper.look()
    assert empty.candidates(**group) == {"new-1"}
    # A device that has lost its mark loses the traits.
    keeper_of(registry, empty, providers=Providers(nested=["CUSTOM_NO_SUCH"])).look()
    assert empty.candidates(**group) == set()
    keeper.look()
    keeper.withdraw("the end")
    assert empty.candidates(**group) == set()


def test_a_withdrawal_removes_our_traits_alone(registry: Registry, placement: PlacementServer) -> None:
    keeper = keeper_of(registry, placement)
    keeper.look()
    changes = keeper.withdraw("the end")
    assert {(change.provider.name, change.reason) for change in changes} == {("new-1", "the end"), ("new-2", "the end")}
    assert placement.candidates(required=TRAIT) == set()
    assert nobody_lost_a_trait(placement)


_NUMBERS = [1, 2, 4, 8]
_HOST_COUNT = 6


class RandomFleet:
    """A fleet to which something happens: hosts, profiles, releases and errata change."""

    def __init__(self, writer: Registry, seed: int) -> None:
        self._writer = writer
        self._chance = random.Random(seed)  # noqa: S311 (no secret)
        self._errata: list[str] = []
        self.hosts = [f"h{number}" for number in range(_HOST_COUNT)]
        numbers = {f"vendor-a.com/p{number}": self._one_of(_NUMBERS) for number in range(6)}
        for name, number in numbers.items():
            writer.post("/profiles", {"name": name, "values": {NIC: {"num-queues": number}}})
        self.profiles = [PROFILE, *numbers]
        writer.put("/implementations/vendor-a.com/fw", {"evolution": "none"})
        writer.put("/releases/vendor-a.com/other@1", {"models": {"vendor-a.com/other": {"variables": {}}}})
        self._releases = [OLD, NEW, *(f"vendor-a.com/fw@{number}" for number in range(3, 7))]
        for name in self._releases[2:]:
            allowed = [1, *self._chance.sample(_NUMBERS[1:], 2)]
            variable = {"type": "int", "init_value": 1, "off_value": 1, "allowed_values": allowed}
            accepted = [profile for profile, number in numbers.items() if number in allowed]
            listed = self._one_of([{}, {"profiles": accepted[self._chance.randrange(3) :]}])
            writer.put(f"/releases/{name}", {"models": {NIC: {"variables": {"num-queues": variable}}}, **listed})

    def _one_of(self, choices: Sequence[Any]) -> Any:
        return self._chance.choice(choices)

    def happen(self) -> None:
        """Change something."""
        self._one_of(
            [self._change_host, self._change_host, self._use_units, self._forget_host, self._change_state, self._err]
        )()

    def _change_host(self) -> None:
        restrict = self._one_of([{}, {}, {NIC: {"num-queues": [1, 4]}}])
        document = {"releases": [self._one_of(self._releases)], "restrict": restrict}
        self._writer.put(f"/hosts/{self._one_of(self.hosts)}", document)

    def _use_units(self) -> None:
        units = [{"id": str(number), "releases": [self._one_of(self._releases)]} for number in range(2)]
        document = {"releases": ["vendor-a.com/other@1"], "units": units}
        self._writer.put(f"/hosts/{self._one_of(self.hosts)}", document)

    def _forget_host(self) -> None:
        host = self._one_of(self.hosts)
        if self._writer.find(f"/hosts/{host}") is not None:
            self._writer.delete(f"/hosts/{host}")

    def _change_state(self) -> None:
        kind, names = self._one_of([("profiles", self.profiles), ("releases", self._releases)])
        state = self._one_of(["published", "published", "deprecated", "retired"])
        self._writer.patch(f"/{kind}/{self._one_of(names)}", {"state": state})

    def _err(self) -> None:
        if self._errata:
            self._writer.patch(f"/errata/{self._errata.pop()}", {"state": "withdrawn"})
            return
        when = self._one_of([{}, {"num-queues": [1]}])
        erratum = {"release": self._one_of(self._releases), "model": NIC, "when": when}
        # One that was withdrawn cannot be published again.
        description = f"broken in {self._chance.random()} ways"
        self._errata.append(self._writer.post("/errata", {**erratum, "description": description})["id"])

    def compatible(self, profile: str) -> set[str]:
        """Return the hosts that a new device with a profile can be on, asked one by one."""
        question = {
            "devices": [{"model": NIC, "profile": profile}],
            "destinations": [{"host": host} for host in self.hosts],
            "detail": "verdict",
        }
        results = self._writer.post("/compatibility", question)["results"]
        return {result["destination"] for result in results if result["compatible"]}


@pytest.mark.long
@pytest.mark.parametrize("seed", range(full(6, short=2)))
def test_candidates_are_right_whatever_happens_to_a_fleet(
    writer: Registry, registry: Registry, empty: PlacementServer, seed: int
) -> None:
    fleet = RandomFleet(writer, seed)
    for host in fleet.hosts:
        empty.add(host)
    keeper = keeper_of(registry, empty)
    right = wrong = 0
    for _ in range(15):
        fleet.happen()
        keeper.look()
        for profile in fleet.profiles:
            compatible = fleet.compatible(profile)
            assert empty.candidates(required=trait_of(profile)) == compatible
            right, wrong = right + len(compatible), wrong + _HOST_COUNT - len(compatible)
    # Both were seen often.
    assert min(right, wrong) > 30


def test_without_the_library_or_the_variables_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OS_AUTH_TYPE", "OS_AUTH_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(PlacementError, match=r"the variables OS_… do not say how to sign in: .*auth_url"):
        placement_api.connect()
    monkeypatch.setitem(sys.modules, "keystoneauth1", None)
    with pytest.raises(PlacementError, match=r"pip install 'device-profile-registry\[placement\]'"):
        placement_api.connect()
