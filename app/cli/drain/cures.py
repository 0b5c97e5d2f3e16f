"""What would help VMs that can go nowhere: a change to the running device, other labels, another policy or profile.

Each is confirmed: the registry is asked about the VM with that change, and says to how many hosts it could go then.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from typing import Any

from app.cli import asking, json_text
from app.cli.client import Registry, RegistryError
from app.cli.drain.question import Question
from app.cli.drain.vms import Vm
from app.domain.values.value import shown
from app.domain.verdict.policy import Policy
from app.domain.verdict.problem import ProblemCode
from app.wire.detail import Detail

# What is looked at for a cure: kinds of hosts, those with most hosts first; and profiles that hosts of a kind accept.
_MAX_KINDS, _MAX_PROFILES = 20, 2
_MAX_EXAMPLES = 5
_VERSION = re.compile(r"[\d.]+$")


class Change(StrEnum):
    """What has to be changed."""

    LABELS = "labels"
    REMEDY = "remedy"
    POLICY = "policy"
    PROFILE = "profile"


@dataclass(frozen=True, slots=True)
class Cure:
    """A change after which a VM could go somewhere. words: for people. detail: for programs.

    possible_count: to how many hosts. examples: some of them.
    """

    change: Change
    words: str
    detail: Mapping[str, Any]
    possible_count: int = 0
    examples: Sequence[str] = ()

    def document(self) -> Mapping[str, Any]:
        """Return the cure as JSON."""
        counted = {"possible_count": self.possible_count, "examples": self.examples}
        return {"change": self.change.value, **self.detail, **counted, "message": self.words}


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A cure to be confirmed: the VM as it is then, and what is asked about it."""

    vm: str
    cure: Cure
    document: Mapping[str, Any]
    question: Question


def cures(
    stuck: Sequence[Vm], kinds: Sequence[Mapping[str, Any]], question: Question, registry: Registry
) -> Mapping[str, Sequence[Cure]]:
    """Return what would help each of some VMs, what changes least first.

    kinds: of the hosts, as a summary answers them. question: that of the drain. Raises RegistryError.
    """
    attempts = [*_with_other_labels(stuck, question), *_at_kinds(stuck, kinds, question, registry)]
    found: dict[str, list[Cure]] = {vm.name: [] for vm in stuck}
    for cure_of in _confirmed(attempts, registry):
        found[cure_of[0]].append(cure_of[1])
    return {name: _best(of_vm) for name, of_vm in found.items()}


def _best(confirmed: Sequence[Cure]) -> Sequence[Cure]:
    """Return of each kind of change the one that opens the most hosts, of equals the first; all single labels."""
    best: dict[tuple[object, ...], Cure] = {}
    for cure in confirmed:
        key = (cure.change, str(cure.detail) if cure.change is Change.LABELS else cure.detail.get("from", ""))
        if key not in best or cure.possible_count > best[key].possible_count:
            best[key] = cure
    singles = [cure for cure in best.values() if cure.change is Change.LABELS and len(cure.detail["without"]) == 1]
    # Where one label is too many, all of them are.
    kept = [cure for cure in best.values() if cure.change is not Change.LABELS or not singles or cure in singles]
    return sorted(kept, key=lambda cure: list(Change).index(cure.change))


def _with_other_labels(stuck: Sequence[Vm], question: Question) -> Iterator[_Attempt]:
    """Iterate over the VMs with one label less, and without labels."""
    labels = list(question.labels)
    fewer = [([label], [other for other in labels if other != label]) for label in labels]
    if len(labels) > 1:
        fewer.append((labels, []))
    for dropped, left in fewer:
        options = " ".join(f"--label {label}" for label in dropped)
        cure = Cure(Change.LABELS, f"without {options}", {"without": dropped})
        for vm in stuck:
            yield _Attempt(vm.name, cure, vm.asked(), replace(question, labels=left))


def _at_kinds(
    stuck: Sequence[Vm], kinds: Sequence[Mapping[str, Any]], question: Question, registry: Registry
) -> Iterator[_Attempt]:
    """Iterate over the changes of VMs to which the answers at single kinds of hosts lead."""
    hosts = [kind["examples"][0] for kind in sorted(kinds, key=lambda kind: -kind["count"]) if kind["kind"]]
    hosts = hosts[:_MAX_KINDS]
    if not hosts or not stuck:
        return
    asked = {
        "vms": [vm.asked() for vm in stuck],
        "destinations": [{"host": host} for host in hosts],
        "policy": question.policy.value,
        "detail": Detail.PROBLEMS.value,
    }
    results: dict[str, list[Mapping[str, Any]]] = {}
    for answer in asking.answers(registry, asked):
        for result in answer["results"]:
            results.setdefault(result["vm"], []).append(result)
    baselines = _Baselines.of(stuck, registry)
    for vm in stuck:
        seen: set[str] = set()
        for result in results[vm.name]:
            refused = [device for device in result["devices"] if not device["compatible"]]
            for attempt in (
                *_with_remedies(vm, refused, question),
                *_with_policy(vm, refused, question),
                *_with_profiles(vm, refused, question, partial(baselines.profiles, result["destination"])),
            ):
                key = json_text.line([attempt.cure.change.value, attempt.cure.detail])
                if key not in seen:
                    seen.add(key)
                    yield attempt


def _with_remedies(vm: Vm, refused: Sequence[Mapping[str, Any]], question: Question) -> Iterator[_Attempt]:
    """Yield the VM with the remedies of all devices that are refused, if all have some."""
    if not all(device["remedies"] for device in refused):
        return
    changes = {device["id"]: {remedy["variable"]: remedy["to"] for remedy in device["remedies"]} for device in refused}
    words = "; ".join(
        f"{remedy['variable']} of {device['id']} from {shown(remedy['from'])} to {shown(remedy['to'])}"
        for device in refused
        for remedy in device["remedies"]
    )
    document = vm.asked()
    devices = [
        {**device, "values": {**device.get("values", {}), **changes.get(device.get("id", str(number)), {})}}
        for number, device in enumerate(document["devices"])
    ]
    cure = Cure(Change.REMEDY, f"after changing {words} in the running VM", {"devices": changes})
    yield _Attempt(vm.name, cure, {**document, "devices": devices}, question)


def _with_policy(vm: Vm, refused: Sequence[Mapping[str, Any]], question: Question) -> Iterator[_Attempt]:
    """Yield the VM under the permissive policy, if nothing but lists of profiles speaks against it."""
    codes = {problem["code"] for device in refused for problem in device["problems"]}
    if codes == {ProblemCode.PROFILE_NOT_LISTED.value} and question.policy is Policy.STRICT:
        words = "with --policy permissive, because hosts accept its variables without listing its profile"
        cure = Cure(Change.POLICY, words, {"policy": Policy.PERMISSIVE.value})
        yield _Attempt(vm.name, cure, vm.asked(), replace(question, policy=Policy.PERMISSIVE))


@dataclass(frozen=True, slots=True)
class _Baselines:
    """The profiles that hosts accept, by host and model: one question for each host, about all of some models."""

    models: Sequence[str]
    registry: Registry
    known: dict[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)

    @classmethod
    def of(cls, vms: Sequence[Vm], registry: Registry) -> "_Baselines":
        """Return those of the models of VMs."""
        return cls(sorted({device["model"] for vm in vms for device in vm.asked()["devices"]}), registry)

    def profiles(self, host: str, models: AbstractSet[str]) -> Sequence[str]:
        """Return the profiles that a host accepts for all of some models, the most useful first."""
        if host not in self.known:
            self.known[host] = self._profiles(host)
        first, *others = (self.known[host].get(model, ()) for model in sorted(models))
        return [profile for profile in first if all(profile in accepted for accepted in others)]

    def _profiles(self, host: str) -> Mapping[str, Sequence[str]]:
        try:
            answer = self.registry.post("/baseline", {"models": list(self.models), "hosts": [host]})
        except RegistryError as error:
            if not asking.is_too_much(error):
                raise
            return {}
        return {model: result["profiles"] for model, result in answer["models"].items()}


def _with_profiles(
    vm: Vm,
    refused: Sequence[Mapping[str, Any]],
    question: Question,
    profiles_for: Callable[[AbstractSet[str]], Sequence[str]],
) -> Iterator[_Attempt]:
    """Iterate over the VM as it would be if it were created with another profile."""
    document = vm.asked()
    devices = [_with_defaults(device, number, document) for number, device in enumerate(document["devices"])]
    of_refused = {device["id"] for device in refused}
    for profile in dict.fromkeys(device.get("profile") for device in devices if device["id"] in of_refused):
        if profile is None:
            continue
        made = [device for device in devices if device.get("profile") == profile]
        accepted = [name for name in profiles_for({device["model"] for device in made}) if name != profile]
        # A profile with a version is one of a family, such as the machine types pc-q35: others are other hardware.
        family = _VERSION.sub("", profile)
        alike = accepted if family == profile else [name for name in accepted if _VERSION.sub("", name) == family]
        for name in alike[:_MAX_PROFILES]:
            cure = Cure(
                Change.PROFILE, f"created anew with {name} in place of {profile}", {"from": profile, "to": name}
            )
            anew = [_created_anew(device, name, vm) if device in made else device for device in devices]
            yield _Attempt(vm.name, cure, {"id": vm.name, "devices": anew}, question)


def _with_defaults(device: Mapping[str, Any], number: int, vm: Mapping[str, Any]) -> dict[str, Any]:
    """Return a device with what its VM states for it (DESIGN 6)."""
    names = ("host",) if "part_of" in device else ("host", "release", "profile")
    return {"id": str(number), **{name: vm[name] for name in names if vm.get(name)}, **device}


def _created_anew(device: Mapping[str, Any], profile: str, vm: Vm) -> dict[str, Any]:
    """Return a device that no longer comes from its release; of a running one, all values are those of its profile."""
    stated = {name: content for name, content in device.items() if name not in {"release", "host", "unit"}}
    return {**stated, "profile": profile, **({"values": {}} if vm.is_running else {})}


def _confirmed(attempts: Sequence[_Attempt], registry: Registry) -> Iterator[tuple[str, Cure]]:
    """Iterate over the cures that the registry confirms, each with its VM."""
    questions: dict[str, list[_Attempt]] = {}
    for attempt in attempts:
        questions.setdefault(json_text.line(attempt.question.document([])), []).append(attempt)
    for of_question in questions.values():
        vms = [{**attempt.document, "id": str(number)} for number, attempt in enumerate(of_question)]
        for answer in asking.answers(registry, of_question[0].question.document(vms)):
            for result in answer["results"]:
                attempt = of_question[int(result["vm"])]
                if result["compatible"]:
                    kinds = (kind for kind in result["kinds"] if kind["compatible"])
                    examples = sorted(name for kind in kinds for name in kind["examples"])[:_MAX_EXAMPLES]
                    count = result["possible_count"]
                    yield attempt.vm, replace(attempt.cure, possible_count=count, examples=examples)
