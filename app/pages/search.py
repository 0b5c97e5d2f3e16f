"""The results of a search, grouped by what they are: names, variables, hosts, and codes of the help."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from fastapi import Request, Response

from app.pages import help as help_pages
from app.pages.page import page
from app.storage import fleet, search

_SHOWN = 20
_SHOWN_OF_CHOSEN = 500


@dataclass(frozen=True, slots=True)
class Group:
    """Results of one kind, the exact match first. count: of all; is_counted: False if there are more than that."""

    title: str
    rows: Sequence[Any]
    count: int
    is_counted: bool = True

    def has_exactly(self, text: str) -> bool:
        """Return whether the first result has exactly this name."""
        return bool(self.rows) and _name(self.rows[0]).lower() == text.lower()


def results_page(
    request: Request, reading: sa.Connection, text: str, chosen: str | None, *, with_hosts: bool
) -> Response:
    """Return the page of results; chosen: the group of which more are shown. with_hosts: also search hosts."""
    words = search.words_of(text)
    groups = _groups(reading, words, chosen)
    if with_hosts and len(words) == 1:
        hosts = search.hosts(reading, text, _limit("hosts", chosen))
        is_counted = hosts.count <= search.MAX_COUNTED_HOSTS
        groups["hosts"] = Group("Hosts whose name begins with it", hosts.rows, hosts.count, is_counted)
    name, equals, value = text.partition("=")
    labelled = fleet.count_labelled(reading, name, value) if with_hosts and equals else 0
    return page(
        request,
        "search.html",
        q=text,
        words=words,
        groups=dict(sorted(groups.items(), key=lambda item: not item[1].has_exactly(text))),
        labelled=labelled,
        max_counted=search.MAX_COUNTED_HOSTS,
        most=_SHOWN_OF_CHOSEN,
        chosen=chosen,
        with_hosts=with_hosts,
    )


def _limit(group: str, chosen: str | None) -> int:
    return _SHOWN_OF_CHOSEN if group == chosen else _SHOWN


def _name(row: Any) -> str:
    name: str = row.code if isinstance(row, help_pages.Entry) else row.name
    return name


_TITLES: Mapping[str, str] = {
    "models": "Device models",
    "variables": "Variables",
    "profiles": "Profiles",
    "implementations": "Implementations",
    "releases": "Releases",
    "vendors": "Vendors",
}


def _groups(reading: sa.Connection, words: Sequence[str], chosen: str | None) -> dict[str, Group]:
    results = search.search(reading, words, {group: _limit(group, chosen) for group in _TITLES})
    groups = {}
    for group, title in _TITLES.items():
        matches: search.Matches = getattr(results, group)
        groups[group] = Group(title, matches.rows, matches.count)
    entries, count = help_pages.matching(" ".join(words), _limit("codes", chosen))
    groups["codes"] = Group("Codes and their meaning", entries, count)
    return groups
