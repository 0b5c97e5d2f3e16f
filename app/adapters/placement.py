"""Placement: each profile that a registered host accepts is a custom trait of the host's resource provider.

Only traits that begin with CUSTOM_DPR_ are added and removed. A trait that cannot be confirmed is removed (DESIGN 1:
unknown never means compatible): at once if the registry says that it is not true, or does not know the host or the
profile; after a set time if the registry gives no answer.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from logging import getLogger
from threading import Event, Lock, Thread

from app.adapters.accepted import Accepted, Choice, read_accepted
from app.adapters.following import LOOK_SECONDS, WAIT_SECONDS, Confirmation, Follower, Look
from app.adapters.limit import within
from app.adapters.placement_api import OutdatedError, Placement, PlacementError, Provider
from app.adapters.trait import PREFIX, by_trait, trait_of
from app.client import Registry

HOLD_SECONDS = 300.0
# A wait of the feed takes five seconds, and an answer can take ten more.
MIN_HOLD_SECONDS = 15.0
# How often a change of a provider that others change at the same time is tried.
_ATTEMPTS = 5
_RETRY_SECONDS = 0.2
_PAUSE_SECONDS = 1.0
_MAX_PAUSE_SECONDS = 30.0
_TICK_SECONDS = 0.5
# To ask once more when an answer has just become too old, because Placement took long.
_LAST_SECONDS = 1.0
# With several workers, each knows after a second what another one has published (DESIGN 8).
_FRESH_SECONDS = 1.5
_SHOWN = 5
_LOG = getLogger(__name__)


class WithdrawnError(Exception):
    """The registry has given no answer for so long that the traits were removed; the message says why it gave none.

    changes: the removals.
    """

    def __init__(self, message: str, changes: "Sequence[Change]") -> None:
        super().__init__(message)
        self.changes = changes


@dataclass(frozen=True, slots=True, kw_only=True)
class Providers:
    """Which resource providers have the traits of which host.

    suffix: what follows the host's name in the name of a root provider; one without it stands for no host. hosts: the
    names of hosts by those of root providers, whatever the suffix. nested: nested providers that have one of these
    traits have the traits of their host, too.
    """

    suffix: str = ""
    hosts: Mapping[str, str] = field(default_factory=dict)
    nested: Collection[str] = ()

    def host(self, provider: str) -> str | None:
        """Return the name of the host that a root provider stands for, registered or not; None: it stands for none."""
        if provider in self.hosts:
            return self.hosts[provider]
        return provider.removesuffix(self.suffix) if provider.endswith(self.suffix) else None


@dataclass(frozen=True, slots=True)
class Change:
    """A trait that is added to a provider or removed from it, and why."""

    provider: Provider
    trait: str
    is_added: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a look at the registry and Placement changes, or would change.

    profiles: the chosen profiles by their traits. counts: how many providers have each trait then. refusals: by a trait
    and the reason, the providers of registered hosts that do not have it. unmatched: root providers that stand for no
    registered host. absent: registered hosts that no root provider stands for.
    """

    profiles: Mapping[str, str]
    counts: Mapping[str, int]
    changes: Sequence[Change]
    refusals: Mapping[tuple[str, str], Sequence[str]] = field(default_factory=dict)
    unmatched: Sequence[str] = ()
    absent: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class _Goal:
    """The traits with our prefix that a provider shall have. why: why it has a trait, or why not."""

    provider: Provider
    traits: frozenset[str]
    why: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the registry answered, when it was asked (monotonic), and at which position in its feed."""

    accepted: Accepted
    asked_at: float
    position: object


class TraitKeeper:
    """Keeps the traits of the providers of one Placement true. Threads can share it."""

    def __init__(
        self,
        registry: Registry,
        placement: Placement,
        choice: Choice | None = None,
        providers: Providers | None = None,
        *,
        hold_seconds: float = HOLD_SECONDS,
        progress: Callable[[str, int, int], None] = lambda _description, _completed, _total: None,
    ) -> None:
        """hold_seconds: how long traits stay while the registry gives no answer.

        progress: called with what is being done, how much of it is done, and how much there is.
        """
        self._registry = registry
        self._placement = placement
        self._choice = choice or Choice()
        self._providers = providers or Providers()
        self._hold_seconds = hold_seconds
        self._progress = progress
        # By uuid, the generation and the traits as last read or written: traits change only with the generation.
        self._seen: dict[str, tuple[int, frozenset[str]]] = {}
        self._lock = Lock()
        # When the registry last confirmed what the traits say; before it has, they are as old as this process.
        self._confirmation = Confirmation(hold_seconds)
        self._is_withdrawn = False
        self._failure = "it has not answered yet"
        # Those of the last look; the log names others only.
        self._refusals: Mapping[tuple[str, str], Sequence[str]] = {}

    def look(self, *, is_dry: bool = False) -> Outcome:
        """Ask the registry what hosts accept, and change the traits accordingly; is_dry: say what would change.

        Raises RegistryError if the registry gives no answer, and PlacementError if traits could not be changed:
        removals go first, and a provider that others keep changing does not stop the rest.
        """
        return self._apply(self._read(self._placement.existing_traits()), is_dry=is_dry)

    def once(self) -> Outcome:
        """Look once; while the registry gives no answer, ask again, for as long as traits stay. Then withdraw them.

        Raises PlacementError, RegistryError and, after the withdrawal, WithdrawnError.
        """
        stop = Event()
        answers: list[_Answer] = []
        arguments = (stop, answers, self._placement.existing_traits())
        # In a thread of its own: an answer that never ends must not keep the traits.
        thread = Thread(target=self._read_until, args=arguments, name="ask the registry", daemon=True)
        thread.start()
        thread.join(self._hold_seconds)
        stop.set()
        if answers:
            return self._apply(answers[0])
        reason = self._no_answer()
        raise WithdrawnError(reason, self.withdraw(reason))

    def _read_until(self, stop: Event, answers: list[_Answer], existing: Collection[str]) -> None:
        pause = _PAUSE_SECONDS
        while not (stop.is_set() or answers):
            try:
                answers.append(self._read(existing))
            except Exception as error:  # noqa: BLE001 (whatever it is, there is no answer that can be used)
                self._failure = _line(error)
                _LOG.warning("%s; trying again", self._failure)
                stop.wait(pause * random.uniform(0.5, 1))  # noqa: S311 (no secret)
                pause = min(2 * pause, _MAX_PAUSE_SECONDS)

    def _read(self, existing: Collection[str]) -> _Answer:
        """Return what the registry answers. existing: the traits that there are; their profiles are not displaced."""
        asked_at, position = time.monotonic(), self._position()
        accepted = read_accepted(self._registry, self._choice, lambda profile: trait_of(profile) in existing)
        return _Answer(accepted, asked_at, position)

    def _position(self) -> object:
        """Return the position of the registry in its feed: with the same one, it has nothing else to say (DESIGN 6)."""
        page = self._registry.get("/changes", after=0, limit=1)
        return page["registry"], page["head"], page["link"]

    def _apply(self, answer: _Answer, *, is_dry: bool = False) -> Outcome:
        """Change the traits as the registry has answered."""
        accepted = answer.accepted
        profiles, clashes = by_trait(accepted.profiles)
        for trait, names in clashes.items():
            _LOG.error("%s would be the trait of %s; none of them gets it", trait, " and of ".join(names))
        with self._lock:
            if not is_dry:
                self._confirmation.confirm(answer.asked_at)
                self._is_withdrawn = False
                # Flavors can require a trait that no host has; they cannot require one that does not exist.
                self._placement.create(profiles)
            goals = self._goals(accepted, profiles)
            changes = self._settle(goals, answer.position, is_dry=is_dry)
        hosts = {
            goal.provider.name: self._providers.host(goal.provider.name) for goal in goals if goal.provider.is_root
        }
        refusals: dict[tuple[str, str], list[str]] = {}
        for goal in goals:
            if hosts.get(goal.provider.name) in accepted.hosts:
                for trait in profiles.keys() - goal.traits:
                    refusals.setdefault((trait, goal.why(trait)), []).append(goal.provider.name)
        return Outcome(
            profiles,
            Counter(trait for goal in goals for trait in goal.traits),
            changes,
            {key: sorted(names) for key, names in refusals.items()},
            sorted(name for name, host in hosts.items() if host not in accepted.hosts),
            sorted(accepted.hosts.keys() - hosts.values()),
        )

    def withdraw(self, reason: str) -> Sequence[Change]:
        """Remove all our traits from all providers; raises PlacementError if those of a provider could not be."""
        with self._lock:
            return self._withdraw(reason)

    def _withdraw(self, reason: str) -> Sequence[Change]:
        scope = self._in_scope(self._placement.providers())
        changes = self._settle([_Goal(provider, frozenset(), lambda _trait: reason) for provider in scope])
        self._is_withdrawn = True
        return changes

    def run(self, stop: Event, *, look_seconds: float = LOOK_SECONDS, wait_seconds: int = WAIT_SECONDS) -> None:
        """Follow the registry and keep the traits true, until the event is set; then they stay as they are.

        look_seconds, wait_seconds: as of a Follower. No exception escapes.
        """
        follower = Follower(
            self._registry, self._follow, look_seconds=look_seconds, wait_seconds=wait_seconds, heard=self._hear
        )
        # In a thread of its own: whatever the registry does to its client, traits are withdrawn in time.
        thread = Thread(target=follower.run, args=(stop,), name="follow the registry", daemon=True)
        thread.start()
        pause, failed = 0.0, False
        while not stop.wait(max(_TICK_SECONDS, pause)):
            try:
                self._withdraw_in_time()
                pause, failed = 0.0, False
            except Exception as error:  # noqa: BLE001 (it is tried again, whatever it was)
                if not failed:
                    _LOG.error("the traits could not be removed: %s; trying again", _line(error))
                pause, failed = min(2 * pause + _PAUSE_SECONDS, _MAX_PAUSE_SECONDS), True
        thread.join(wait_seconds)

    def _withdraw_in_time(self) -> None:
        """Withdraw the traits if nothing has confirmed them for too long."""
        if self._is_withdrawn or self._confirmation.is_current:
            return
        with self._lock:
            # A look can have ended meanwhile.
            if not self._confirmation.is_current:
                log(self._withdraw(self._no_answer()))

    def _follow(self, look: Look) -> None:
        if look.changes is None:
            # Everything: also what is remembered of Placement.
            self._seen.clear()
        time.sleep(_FRESH_SECONDS)
        outcome = self.look()
        log(outcome.changes)
        removed = {(change.trait, change.provider.name) for change in outcome.changes}
        for (trait, reason), names in sorted(outcome.refusals.items()):
            known = self._refusals.get((trait, reason), ())
            if others := [name for name in names if name not in known and (trait, name) not in removed]:
                _LOG.info("%s is not on %s: %s", trait, _some(others), reason)
        self._refusals = outcome.refusals

    def _hear(self, error: Exception | None) -> None:
        if error is None:
            self._confirmation.confirm()
        else:
            self._failure = _line(error)

    def _no_answer(self) -> str:
        return f"the registry has given no answer for {self._hold_seconds:g} seconds: {self._failure}"

    def _in_scope(self, providers: Sequence[Provider]) -> Sequence[Provider]:
        return [provider for provider in providers if provider.is_root or self._providers.nested]

    def _goals(self, accepted: Accepted, profiles: Mapping[str, str]) -> Sequence[_Goal]:
        """Return the traits that each provider shall have."""
        providers = self._in_scope(self._placement.providers())
        names = {provider.uuid: provider.name for provider in providers if provider.is_root}
        devices = {
            provider.uuid for trait in self._providers.nested for provider in self._placement.providers_with(trait)
        }
        goals = []
        for provider in providers:
            host = self._providers.host(names.get(provider.root, ""))
            goal = self._goal_of_host(provider, host, accepted, profiles)
            if not provider.is_root:
                goal = self._goal_of_nested(goal, provider.uuid in devices, host in accepted.with_different_units)
            goals.append(goal)
        return goals

    @staticmethod
    def _goal_of_host(provider: Provider, host: str | None, accepted: Accepted, profiles: Mapping[str, str]) -> _Goal:
        if host is None or host not in accepted.hosts:
            return _Goal(provider, frozenset(), lambda _trait: "no host with its name is registered")

        def why(trait: str) -> str:
            profile = profiles.get(trait)
            if profile is None:
                return "it is the trait of no chosen profile"
            return accepted.refusal(host, profile) or f"the host accepts {profile}"

        refusals = accepted.refusal
        return _Goal(
            provider, frozenset(trait for trait, profile in profiles.items() if refusals(host, profile) is None), why
        )

    @staticmethod
    def _goal_of_nested(goal: _Goal, is_device: bool, has_different_units: bool) -> _Goal:  # noqa: FBT001
        if not is_device:
            return _Goal(goal.provider, frozenset(), lambda _trait: "the nested provider has none of the traits")
        if has_different_units:
            reason = "the units of the host differ, so what the host accepts need not be what each device accepts"
            return _Goal(goal.provider, frozenset(), lambda _trait: reason)
        return goal

    def _settle(self, goals: Sequence[_Goal], position: object = None, *, is_dry: bool = False) -> Sequence[Change]:
        """Give each provider the traits of its goal; return what changed. is_dry: what would change.

        position: that of the answer which the goals are made of; None: they hold whatever the registry says.
        """
        steps = []
        for count, goal in enumerate(goals):
            self._progress("reading traits", count, len(goals))
            self._keep_confirmed(position)
            traits = self._current(goal.provider)
            if changes := self._difference(goal, traits):
                steps.append((goal, changes))
        if is_dry:
            return [change for _, changes in steps for change in changes]
        # A trait that is not true does harm; one that is missing does not.
        steps.sort(key=lambda step: all(change.is_added for change in step[1]))
        done: list[Change] = []
        failures: list[OutdatedError] = []
        try:
            for count, (goal, _) in enumerate(steps):
                self._progress("changing traits", count, len(steps))
                self._keep_confirmed(position)
                try:
                    done += self._reach(goal)
                except OutdatedError as error:
                    failures.append(error)
        except Exception:
            log(done)
            raise
        if failures:
            log(done)
            message = f"{len(failures)} of {len(steps)} providers could not be changed; {failures[0]}"
            raise PlacementError(message)
        return done

    def _keep_confirmed(self, position: object) -> None:
        """Ask the registry again, after a part of the time that traits stay, whether its answer still holds.

        Thousands of providers take longer. Raises RegistryError without an answer, PlacementError if it has changed, or
        does not come in time: the withdrawal waits for the lock that is held here.
        """
        if position is None or self._confirmation.age <= self._hold_seconds / 3:
            return
        asked_at = time.monotonic()
        try:
            present = within(max(self._confirmation.remaining, _LAST_SECONDS), self._position)
        except TimeoutError as error:
            message = f"the registry does not say whether its answer still holds: {error}"
            raise PlacementError(message) from error
        if present != position:
            message = "the registry has changed while traits were changed"
            raise PlacementError(message)
        self._confirmation.confirm(asked_at)

    def _current(self, provider: Provider) -> frozenset[str]:
        """Return the traits of a provider, from memory if its generation is the same; of one that is gone, none."""
        seen = self._seen.get(provider.uuid)
        if seen is None or seen[0] != provider.generation:
            self._seen.pop(provider.uuid, None)
            if (seen := self._placement.traits_of(provider)) is None:
                return frozenset()
            self._seen[provider.uuid] = seen
        return seen[1]

    @staticmethod
    def _difference(goal: _Goal, traits: frozenset[str]) -> Sequence[Change]:
        own = {trait for trait in traits if trait.startswith(PREFIX)}
        return [
            Change(goal.provider, trait, trait in goal.traits, goal.why(trait)) for trait in sorted(own ^ goal.traits)
        ]

    def _reach(self, goal: _Goal) -> Sequence[Change]:
        """Give a provider the traits of its goal, and leave others' alone; raises OutdatedError after some attempts."""
        for attempt in range(_ATTEMPTS):
            seen = self._seen.get(goal.provider.uuid) or self._placement.traits_of(goal.provider)
            if seen is None:
                break
            generation, traits = seen
            changes = self._difference(goal, traits)
            if not changes:
                break
            if goal.traits and not self._confirmation.is_current:
                message = f"the registry's answer is older than {self._hold_seconds:g} seconds"
                raise PlacementError(message)
            wanted = goal.traits | {trait for trait in traits if not trait.startswith(PREFIX)}
            try:
                self._placement.create(goal.traits)
                generation = self._placement.replace(goal.provider, generation, wanted)
            except OutdatedError:
                self._seen.pop(goal.provider.uuid, None)
                if attempt == _ATTEMPTS - 1:
                    raise
                time.sleep(_RETRY_SECONDS * (attempt + 1) * random.uniform(0.5, 1))  # noqa: S311 (no secret)
                continue
            self._seen[goal.provider.uuid] = generation, wanted
            return changes
        return ()


def grouped(changes: Sequence[Change]) -> Iterator[tuple[tuple[bool, str, str], Sequence[str]]]:
    """Iterate over whether a trait is added, the trait and the reason, with the providers concerned."""
    groups: dict[tuple[bool, str, str], list[str]] = {}
    for change in changes:
        groups.setdefault((change.is_added, change.trait, change.reason), []).append(change.provider.name)
    yield from sorted(groups.items())


def log(changes: Sequence[Change]) -> None:
    """Log what has changed, and why."""
    for (is_added, trait, reason), names in grouped(changes):
        _LOG.info("%s %s %s: %s", trait, "added to" if is_added else "removed from", _some(names), reason)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"


def _line(error: Exception) -> str:
    """Return the message of an error on one line."""
    text = "; ".join(line.strip() for line in str(error).splitlines() if line.strip())
    return text or type(error).__name__
