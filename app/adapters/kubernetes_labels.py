"""Kubernetes: labels of nodes say which profiles their hosts accept, as KubeVirt's labeller says it of CPU models.

A module of its own, because it is a program with other rights: it changes nodes, the extender
changes nothing.
"""

import hashlib
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from logging import getLogger
from threading import Event, Lock, Thread
from typing import Any

import httpx

from app.adapters.accepted import Accepted, Choice, read_accepted
from app.adapters.following import LOOK_SECONDS, WAIT_SECONDS, Confirmation, Follower, Look
from app.adapters.kubernetes_api import VIRTUAL_MACHINE, Cluster, ClusterError, declared_devices
from app.client import Registry, RegistryError

# Labels that begin so are this adapter's, whoever set them; it touches no others.
PREFIX = "device-profile."
# How long labels stay after the look that should have confirmed them.
HOLD_SECONDS = 300.0
_MIN_TICK_SECONDS, _MAX_TICK_SECONDS = 0.1, 30.0
# The grammar of a label's key: a DNS subdomain, a slash, a name (k8s.io/apimachinery/pkg/util/validation).
_MAX_DOMAIN, _MAX_NAME = 253, 63
_NAME = re.compile("[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_NOT_IN_NAMES = re.compile("[^A-Za-z0-9._-]+")
_DIGITS = 32
# No path that stays as it is ends like a shortened one.
_SHORTENED = re.compile(rf"(.*-)?x[0-9a-f]{{{_DIGITS}}}")
# No vendor: these have a dot.
_LONG = f"{PREFIX}long"
_LOG = getLogger(__name__)


def label_of(profile: str) -> str:
    """Return the key of a profile's label: device-profile.qemu.org/pc-q35-7.2 of qemu.org/pc-q35-7.2.

    It depends on the name alone. A path that no label can have, for its slashes, its length or its letters, is made
    readable and ends in 128 bits of the name's SHA-256; two names have the same label only if these are equal.
    """
    vendor, _, path = profile.partition("/")
    domain = f"{PREFIX}{vendor}" if len(vendor) <= _MAX_DOMAIN - len(PREFIX) else _LONG
    is_plain = len(path) <= _MAX_NAME and _NAME.fullmatch(path) and not _SHORTENED.fullmatch(path)
    if domain is not _LONG and is_plain:
        return f"{domain}/{path}"
    digest = hashlib.sha256(profile.encode()).hexdigest()[:_DIGITS]
    readable = _NOT_IN_NAMES.sub("-", path).strip("._-")[: _MAX_NAME - _DIGITS - len("-x")]
    return f"{domain}/{readable}-x{digest}" if readable else f"{domain}/x{digest}"


@dataclass(frozen=True, slots=True)
class Change:
    """What changes in the labels of a node.

    added: the profiles of the labels that are added. removed: the reasons for those that are removed.
    """

    node: str
    added: Mapping[str, str]
    removed: Mapping[str, str]


def _changes(accepted: Accepted, nodes: Iterable[Mapping[str, Any]]) -> Iterator[Change]:
    """Iterate over the nodes, by their metadata, whose labels differ from what the hosts of their names accept."""
    profiles = {label_of(profile): profile for profile in accepted.profiles}
    for metadata in nodes:
        node, labels = metadata["name"], metadata.get("labels") or {}
        refusals = {label: accepted.refusal(node, profile) for label, profile in profiles.items()}
        added = {
            label: profile
            for label, profile in sorted(profiles.items())
            if refusals[label] is None and labels.get(label) != "true"
        }
        removed = {
            label: refusals.get(label) or "the profile is not among those that are asked about"
            for label in sorted(labels)
            if label.startswith(PREFIX) and refusals.get(label, "") is not None
        }
        if added or removed:
            yield Change(node, added, removed)


def planned_changes(
    registry: Registry, choice: Choice, nodes: Sequence[Mapping[str, Any]] | None = None
) -> Sequence[Change]:
    """Return what has to change in the labels of nodes, by their metadata; raises RegistryError.

    None: what changes if each registered host is a node without labels.
    """
    existing = {label for metadata in nodes or () for label in metadata.get("labels") or {}}
    accepted = read_accepted(registry, choice, lambda profile: label_of(profile) in existing)
    return [*_changes(accepted, [{"name": host} for host in accepted.hosts] if nodes is None else nodes)]


class Labeller:
    """Keeps the labels of nodes true. Several do no harm if they choose the same profiles."""

    def __init__(self, registry: Registry, cluster: Cluster, choice: Choice | None = None) -> None:
        self._registry = registry
        self._cluster = cluster
        self._choice = choice or Choice()
        # Held for one change of one node, never while the registry is asked: a withdrawal must not wait for either.
        self._lock = Lock()
        self._confirmation = Confirmation(HOLD_SECONDS)
        self._failure = "it does not answer"

    def look(self) -> Sequence[Change]:
        """Ask the registry what hosts accept, and change labels accordingly; return what has changed.

        Raises RegistryError if the registry gives no answer, and nothing has changed then; or if its answer has become
        too old before all labels were added. Raises ClusterError if the labels of a node could not be changed; those of
        all others have been.
        """
        nodes = [*self._cluster.nodes()]
        asked_at = time.monotonic()
        planned = planned_changes(self._registry, self._choice, nodes)
        self._confirmation.confirm(asked_at)
        self._apply(planned)
        return planned

    def withdraw(self, reason: str) -> Sequence[Change]:
        """Remove all labels that say what a host accepts; raises ClusterError if some could not be removed."""
        # An addition that has begun ends before the labels are read.
        with self._lock:
            labels = {node["name"]: [*(node.get("labels") or {})] for node in self._cluster.nodes()}
        ours = {node: [key for key in keys if key.startswith(PREFIX)] for node, keys in labels.items()}
        planned = [Change(node, {}, dict.fromkeys(keys, reason)) for node, keys in ours.items() if keys]
        self._apply(planned)
        return planned

    def _apply(self, planned: Sequence[Change]) -> None:
        """Change labels, removals first: a label that is not true does harm; one that is missing does not."""
        failures: dict[str, ClusterError] = {}
        for change in planned:
            if change.removed and self._label(change.node, dict.fromkeys(change.removed, None), failures):
                for label, reason in change.removed.items():
                    _LOG.info("%s: %s is removed: %s", change.node, label, reason)
        for change in planned:
            if change.added and self._label(change.node, dict.fromkeys(change.added, "true"), failures):
                for label, profile in change.added.items():
                    _LOG.info("%s: %s is added: it accepts %s", change.node, label, profile)
        if failures:
            first = next(iter(failures.values()))
            message = f"the labels of {len(failures):,} nodes could not be changed: {first}"
            raise ClusterError(message, first.status)

    def _label(self, node: str, labels: Mapping[str, str | None], failures: dict[str, ClusterError]) -> bool:
        """Set labels of a node, or remove those that are None; return whether that was done.

        Raises RegistryError if labels would be added, and the registry's answer is too old.
        """
        with self._lock:
            if any(labels.values()) and not self._confirmation.is_current:
                message = f"the registry's answer is older than {self._confirmation.hold_seconds:g} seconds"
                raise RegistryError(message, is_transient=True)
            try:
                self._cluster.label_node(node, labels)
            except ClusterError as error:
                # A node that is gone has no labels.
                if error.status != httpx.codes.NOT_FOUND:
                    failures.setdefault(node, error)
                return False
        return True

    def run(
        self,
        stop: Event,
        *,
        look_seconds: float = LOOK_SECONDS,
        hold_seconds: float = HOLD_SECONDS,
        wait_seconds: int = WAIT_SECONDS,
    ) -> None:
        """Keep labels true until the event is set; they stay as they are then. No exception escapes.

        look_seconds: there is a look at everything at least this often. hold_seconds: after so long without an answer
        of the registry, the labels are removed until it answers: unknown never means compatible (DESIGN 1).
        wait_seconds: a wait for changes, less than hold_seconds; to stop takes as long at most.
        """
        self._confirmation.hold_seconds = hold_seconds
        follower = Follower(
            self._registry, self._renew, look_seconds=look_seconds, wait_seconds=wait_seconds, heard=self._note
        )
        # In a thread of its own: an answer that never ends must not keep the labels.
        thread = Thread(target=follower.run, args=(stop,), name="device-profile feed", daemon=True)
        thread.start()
        tick = min(hold_seconds / 10 + 0.1, _MAX_TICK_SECONDS)
        while not stop.wait(min(tick, max(self._confirmation.remaining, _MIN_TICK_SECONDS))):
            if not self._confirmation.is_current:
                self._withdraw_in_time(follower)
                stop.wait(tick)
        thread.join(wait_seconds)

    def _withdraw_in_time(self, follower: Follower) -> None:
        """Remove all labels, without asking the registry again: this thread must not wait for it."""
        hold_seconds = self._confirmation.hold_seconds
        try:
            self.withdraw(f"the registry has not confirmed it for more than {hold_seconds:g} seconds: {self._failure}")
        except Exception as error:  # noqa: BLE001 (the next round tries again)
            _LOG.warning("labels that are not confirmed could not be removed: %r", error)
        finally:
            # A look can have ended meanwhile, for which the labels were still there.
            follower.look_again()

    def _renew(self, _reason: Look) -> None:
        self.look()

    def _note(self, error: Exception | None) -> None:
        if error is None:
            self._confirmation.confirm()
        self._failure = "it does not answer" if error is None else str(error)


def migration(instance: Any) -> tuple[Mapping[str, Any], Sequence[str]]:
    """Return a VirtualMachineInstanceMigration to nodes whose labels have all profiles of a VM's devices.

    instance: a VirtualMachineInstance with its annotations. The second result names the devices without a profile: no
    label says anything about them. It needs KubeVirt 1.6 (spec.addedNodeSelector). Raises ValueError.
    """
    if not isinstance(instance, dict) or instance.get("kind") != VIRTUAL_MACHINE:
        message = f"it is no {VIRTUAL_MACHINE}"
        raise ValueError(message)
    metadata = instance["metadata"]
    devices = declared_devices(metadata.get("annotations") or {})
    profiles = sorted({device["profile"] for device in devices if "profile" in device})
    document = {
        "apiVersion": "kubevirt.io/v1",
        "kind": f"{VIRTUAL_MACHINE}Migration",
        "metadata": {"generateName": f"{metadata['name']}-", "namespace": metadata["namespace"]},
        "spec": {
            "vmiName": metadata["name"],
            "addedNodeSelector": {label_of(profile): "true" for profile in profiles},
        },
    }
    return document, [
        str(device.get("id", position)) for position, device in enumerate(devices) if "profile" not in device
    ]
