"""The words for changes: what happened, and the facts that a change carries for people."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.publishing.change import ChangeKind

WORDS: Mapping[ChangeKind, str] = {
    ChangeKind.RELEASE_PUBLISHED: "release published",
    ChangeKind.RELEASE_EXTENDED: "release extended",
    ChangeKind.PROFILE_PUBLISHED: "profile published",
    ChangeKind.PROFILE_EXTENDED: "profile extended",
    ChangeKind.RELEASE_STATE_CHANGED: "state of a release changed",
    ChangeKind.PROFILE_STATE_CHANGED: "state of a profile changed",
    ChangeKind.ERRATUM_PUBLISHED: "erratum published",
    ChangeKind.ERRATUM_WITHDRAWN: "erratum withdrawn",
    ChangeKind.GATE_OVERRIDDEN: "evolution gate overridden",
    ChangeKind.EVOLUTION_SET: "evolution mode set",
    ChangeKind.VENDOR_REGISTERED: "vendor registered",
    ChangeKind.VENDOR_COMPLETED: "vendor changed",
    ChangeKind.HOST_REGISTERED: "host registered",
    ChangeKind.HOST_CHANGED: "host changed",
    ChangeKind.HOST_FORGOTTEN: "host deleted",
    ChangeKind.DRAFT_KEPT: "draft stored",
    ChangeKind.DRAFT_DELETED: "draft deleted",
    ChangeKind.TOKEN_CREATED: "token created",
    ChangeKind.TOKEN_REVOKED: "token revoked",
}


@dataclass(frozen=True, slots=True)
class KindGroup:
    """Kinds of changes that people choose together."""

    title: str
    kinds: Sequence[ChangeKind]


# The groups of the feed, by their value in the address.
GROUPS: Mapping[str, KindGroup] = {
    "releases": KindGroup("Releases", (ChangeKind.RELEASE_PUBLISHED, ChangeKind.RELEASE_EXTENDED)),
    "profiles": KindGroup("Profiles", (ChangeKind.PROFILE_PUBLISHED, ChangeKind.PROFILE_EXTENDED)),
    "states": KindGroup("States", (ChangeKind.RELEASE_STATE_CHANGED, ChangeKind.PROFILE_STATE_CHANGED)),
    "errata": KindGroup("Errata", (ChangeKind.ERRATUM_PUBLISHED, ChangeKind.ERRATUM_WITHDRAWN)),
    "gate": KindGroup("Evolution gate", (ChangeKind.GATE_OVERRIDDEN, ChangeKind.EVOLUTION_SET)),
    "vendors": KindGroup("Vendors", (ChangeKind.VENDOR_REGISTERED, ChangeKind.VENDOR_COMPLETED)),
    "hosts": KindGroup("Hosts", (ChangeKind.HOST_REGISTERED, ChangeKind.HOST_CHANGED, ChangeKind.HOST_FORGOTTEN)),
}
# The audit has all of these.
AUDIT_GROUPS: Mapping[str, KindGroup] = {
    **GROUPS,
    "drafts": KindGroup("Drafts", (ChangeKind.DRAFT_KEPT, ChangeKind.DRAFT_DELETED)),
    "tokens": KindGroup("Tokens", (ChangeKind.TOKEN_CREATED, ChangeKind.TOKEN_REVOKED)),
}

# The kinds of entries of which a publication counts what it adds.
COUNTED: Mapping[str, tuple[str, str]] = {
    "vendors": ("vendor", "vendors"),
    "releases": ("release", "releases"),
    "models": ("new device model", "new device models"),
    "release_models": ("implemented device model", "implemented device models"),
    "variables": ("new variable", "new variables"),
    "off_values": ("off value", "off values"),
    "drafts": ("draft", "drafts"),
    "profiles": ("profile", "profiles"),
    "profile_models": ("device model of profiles", "device models of profiles"),
    "profile_lists": ("list of profiles", "lists of profiles"),
    "listed_profiles": ("listed profile", "listed profiles"),
    "own_values": ("entry of own values", "entries of own values"),
    "aliases": ("alias", "aliases"),
    "signatures": ("signature", "signatures"),
}


def facts(kind: str, detail: Mapping[str, Any]) -> list[str]:
    """Return what a change says of itself, each fact in a few words."""
    return [*_facts(kind, detail), *_shared_facts(detail)]


def _facts(kind: str, detail: Mapping[str, Any]) -> Iterator[str]:
    """Iterate over the facts that only this kind of change has."""
    if kind == ChangeKind.GATE_OVERRIDDEN:
        count = int(detail.get("broken_count", 0))
        yield f"reason: {detail.get('reason', '')}"
        yield f"breaks {count:,} pair{'' if count == 1 else 's'} of a profile and a device model"
    elif kind in {ChangeKind.RELEASE_STATE_CHANGED, ChangeKind.PROFILE_STATE_CHANGED}:
        yield f"{detail.get('before', '?')} → {detail.get('state', '?')}"
    elif kind in {ChangeKind.ERRATUM_PUBLISHED, ChangeKind.ERRATUM_WITHDRAWN}:
        yield f"{detail.get('model', '')}: {detail.get('description', '')}"
        yield f"erratum {detail.get('erratum', '')}"
    elif kind == ChangeKind.EVOLUTION_SET:
        yield f"mode {detail.get('evolution', '?')}{', transitive' if detail.get('transitive') else ''}"
    elif kind == ChangeKind.VENDOR_COMPLETED:
        yield from _facts_of_vendor(detail)
    elif kind in {ChangeKind.TOKEN_CREATED, ChangeKind.TOKEN_REVOKED}:
        yield from _facts_of_token(detail)


def _facts_of_vendor(detail: Mapping[str, Any]) -> Iterator[str]:
    for field, words in (("keys", "key added"), ("revoked_keys", "key revoked")):
        yield from (f"{words}: {key}" for key in detail.get(field, ()))
    if "signed" in detail:
        yield "publications must be signed" if detail["signed"] else "publications need not be signed"


def _facts_of_token(detail: Mapping[str, Any]) -> Iterator[str]:
    yield str(detail.get("token_name", ""))
    if detail.get("role"):
        yield f"{detail['role']}{' of ' + detail['vendor'] if detail.get('vendor') else ''}"
    if detail.get("expires_at"):
        yield f"expires {str(detail['expires_at'])[:16].replace('T', ' ')} UTC"
    if detail.get("issuer"):
        yield f"issuer {detail['issuer']}"


def _shared_facts(detail: Mapping[str, Any]) -> Iterator[str]:
    """Iterate over the facts that changes of several kinds have."""
    if detail.get("added"):
        yield "added: " + ", ".join(_counted(what, int(count)) for what, count in detail["added"].items())
    if "signature" in detail:
        yield "signed by its vendor"
    if "trusted_publisher" in detail:
        yield f"by the trusted publisher {detail['trusted_publisher']}"
    if "origin" in detail:
        origin = detail["origin"]
        time = str(origin.get("at", ""))[:16].replace("T", " ")
        yield f"mirrored: change {origin.get('seq')} of {origin.get('registry')}, {time} UTC, by {origin.get('by')}"


def _counted(what: str, count: int) -> str:
    one, many = COUNTED.get(what, (what.replace("_", " "),) * 2)
    return f"{count:,} {one if count == 1 else many}"
