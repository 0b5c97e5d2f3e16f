"""The pages of changes: the feed, newest first, and each change; and the audit, for admins."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import AfterValidator, BeforeValidator

from app.api.identity import Allowed
from app.api.parameters import Filter
from app.api.session import Auditing, Reading
from app.domain.publishing.change import ChangeKind
from app.pages.feed_words import AUDIT_GROUPS, GROUPS, WORDS, KindGroup, facts
from app.pages.page import PageRoute, page, pasted
from app.service.known import UnknownNameError
from app.storage import change, history, listing

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_ON_A_PAGE = 50
# Changes of one transaction beyond these are folded.
_UNFOLDED = 3
_OF_TRANSACTION = 200
_MAX_SEQ = 2**31 - 1
_MAX_VENDORS = 200


def _known_group(text: str | None) -> str | None:
    if text is not None and text not in AUDIT_GROUPS and text not in set(ChangeKind):
        message = (
            f"must be one of {', '.join(AUDIT_GROUPS)}, or a kind of change such as {ChangeKind.RELEASE_PUBLISHED}"
        )
        raise ValueError(message)
    return text


def _known_date(text: str | None) -> str | None:
    if text is not None:
        try:
            return date.fromisoformat(text).isoformat()
        except ValueError as error:
            message = "must be a date such as 2026-01-31"
            raise ValueError(message) from error
    return text


# A field of a form that is left empty is sent, too.
_OR_NONE = BeforeValidator(lambda text: text or None)
_Kind = Annotated[str | None, _OR_NONE, AfterValidator(_known_group)]
_Since = Annotated[str | None, _OR_NONE, AfterValidator(_known_date)]
_Before = Annotated[int | None, Query(ge=1, le=_MAX_SEQ)]


@dataclass(frozen=True, slots=True)
class Shown:
    """A change as pages show it. thing: the kind of page that its name has, empty if it has none."""

    row: change.Row
    words: str
    thing: str
    facts: Sequence[str]

    @classmethod
    def of(cls, row: change.Row) -> "Shown":
        """Return a change with its words."""
        kind = ChangeKind(row.kind)
        return cls(row, WORDS[kind], _thing(kind), facts(kind, json.loads(row.detail)))


def _thing(kind: ChangeKind) -> str:
    if kind.is_audited_alone:
        return ""
    first = kind.value.partition("-")[0]
    return {"gate": "release", "erratum": "release", "evolution": "implementation"}.get(first, first)


@dataclass(frozen=True, slots=True)
class Transaction:
    """The changes of a transaction on a page: the first ones, and those that are folded."""

    first: Sequence[Shown]
    folded: Sequence[Shown]


def _transactions(rows: Iterable[change.Row]) -> list[Transaction]:
    transactions = []
    for _, members in groupby(rows, key=lambda row: row.part_of or -row.id):
        # What a transaction begins with says best what it is about.
        shown = [Shown.of(row) for row in members][::-1]
        cut = _UNFOLDED if len(shown) > _UNFOLDED + 1 else len(shown)
        transactions.append(Transaction(shown[:cut], shown[cut:]))
    return transactions


def _kinds(groups: Mapping[str, KindGroup], chosen: str | None) -> Sequence[ChangeKind]:
    if chosen is None:
        return ()
    return groups[chosen].kinds if chosen in groups else (ChangeKind(chosen),)


@router.get("/ui/changes")
def get_changes_page(  # noqa: PLR0913, PLR0917 (the filters)
    request: Request,
    reading: Reading,
    allowed: Allowed,
    vendor: Filter = None,
    kind: _Kind = None,
    name: Filter = None,
    since: _Since = None,
    hosts: Filter = None,
    before: _Before = None,
) -> Response:
    """Show the feed, the newest changes first; hosts: also changes of hosts. before: only changes before this seq.

    Where hosts are closed, a client without a token sees the changes that GET /changes shows it vendor by vendor.
    """
    kinds = _kinds(AUDIT_GROUPS, kind)
    with_hosts = bool(hosts) or not {*change.OF_HOSTS}.isdisjoint(kinds)
    if with_hosts:
        allowed.check_hosts()
    filters = history.Filters(pasted(vendor), kinds, pasted(name), None, since)
    listed = history.newest(reading, filters, before, _ON_A_PAGE, with_hosts=with_hosts)
    return page(
        request,
        "changes.html",
        transactions=_transactions(listed.rows),
        listed=listed,
        groups=GROUPS,
        words=WORDS,
        vendors=[row.name for row in listing.vendors(reading, None, _MAX_VENDORS).rows],
        filters={"vendor": filters.vendor, "kind": kind, "name": filters.name, "since": since, "hosts": hosts or None},
        before=before,
        sees_hosts=allowed.sees_hosts,
    )


@router.get("/ui/changes/{seq}")
def get_change_page(seq: int, request: Request, reading: Reading, allowed: Allowed) -> Response:
    """Show a change, with its links in the chain and the other changes of its transaction."""
    rows = {row.seq: row for row in (history.around(reading, seq) if 0 < seq < _MAX_SEQ else ())}
    row = rows.get(seq)
    if row is None:
        raise UnknownNameError(str(seq), "change")
    if row.kind in change.OF_HOSTS:
        allowed.check_hosts()
    visible = {number: row for number, row in rows.items() if allowed.sees_hosts or row.kind not in change.OF_HOSTS}
    others, are_more = history.transaction(reading, row.part_of, _OF_TRANSACTION, with_hosts=allowed.sees_hosts)
    return page(
        request,
        "change.html",
        change=Shown.of(row),
        detail=_pretty(json.loads(row.detail)),
        before=visible.get(seq - 1),
        after=visible.get(seq + 1),
        link_before=rows[seq - 1].link if seq - 1 in rows else change.registry_id(reading),
        others=[Shown.of(other) for other in others if other.seq != seq],
        are_more=are_more,
    )


def _pretty(detail: Mapping[str, Any]) -> str:
    return json.dumps(detail, indent=2, ensure_ascii=False, sort_keys=True) if detail else ""


@router.get("/ui/audit")
def get_audit_page(  # noqa: PLR0913, PLR0917 (the filters)
    request: Request,
    reading: Auditing,
    kind: _Kind = None,
    name: Filter = None,
    by: Filter = None,
    since: _Since = None,
    before: _Before = None,
) -> Response:
    """Show the audit, the newest entries first: the feed, and also drafts and tokens. before: only ids before this."""
    filters = history.Filters(None, _kinds(AUDIT_GROUPS, kind), pasted(name), pasted(by), since)
    listed = history.audited(reading, filters, before, _ON_A_PAGE)
    return page(
        request,
        "audit.html",
        transactions=_transactions(listed.rows),
        listed=listed,
        groups=AUDIT_GROUPS,
        words=WORDS,
        filters={"kind": kind, "name": filters.name, "by": filters.by, "since": since},
        before=before,
    )
