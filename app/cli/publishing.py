"""profile-registry publish: publishes a release document, or says what it would break and change."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from itertools import chain
from typing import Annotated, Any, NoReturn

import typer

from app.cli import client, json_text, located
from app.cli.difference import print_differences
from app.cli.importing import Override, Sign, check_release, print_answer, print_consequences
from app.cli.keys import signing_keys
from app.cli.output import REFUSED, AsJson, fail, is_json_requested, named, print_json, print_line, print_table, refuse

# Where an envelope has the document that it signs.
_SIGNED = "/payload/document"
_GATE = "evolution-gate"
_MORE = "--json lists them"
_MAX_LINES = 3
_FORESEEN = ("previous", "differences", "no_longer_listed", "makes_otherwise", "state_not_readable")


def publish(
    file: Annotated[str, typer.Argument(help="The document, JSON; - for standard input.")],
    release: Annotated[str, typer.Option(help="The release to publish, <implementation>@<version>.")],
    override: Override = None,
    *,
    sign: Sign = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Show what would change, what it would break and which hosts it concerns; store nothing."
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    r"""Publish a release: the body of PUT /releases, or the RFC's migration information, from a file or standard input.

    With --dry-run, nothing is stored. The command shows the differences from the previous release, the profiles that
    are no longer listed or made otherwise, the saved states that cannot be read, and the registered hosts that run the
    previous release. Faults are shown at their lines in the file, all at once.

    Exit status 0 published, or there is nothing to add; 1 the file cannot be read, has faults, or would break earlier
    releases; 2 could not ask.

    Examples:

        profile-registry publish release.json --release vendor-a.com/my-nic-firmware@2024.1 --dry-run

        my-device-backend --print-migration-info-json | \
          profile-registry publish - --release vendor-a.com/my-backend@2.1 --sign vendor-a.key
    """
    check_release(release, REFUSED)
    document = _Document.read(file)
    keys = signing_keys(sign)
    try:
        with client.Registry(signing_keys=keys) as registry:
            try:
                answer = registry.publish_release(release, document.content, dry_run=dry_run, override=override)
            except client.RegistryError as error:
                _refuse(error, registry, release, document, dry_run=dry_run, is_signed=bool(keys))
            hosts = _Hosts.of(registry, answer["previous"]) if dry_run else None
    except client.RegistryError as error:
        refuse(error)
    if as_json:
        print_json({**answer, **({} if hosts is None else {"hosts": hosts.document()})})
        return
    if hosts is not None:
        _print_changes(release, answer)
    print_answer(release, answer)
    if hosts is not None and hosts.release is not None:
        print_line(hosts.line())
    if dry_run:
        print_line("Nothing was stored: this was a dry run.")
    elif any(answer["added"].values()):
        print_line(f"published {release}")


@dataclass(frozen=True, slots=True)
class _Document:
    """A document: the name of its file, its text and its content."""

    file: str
    text: str
    content: Any

    @classmethod
    def read(cls, file: str) -> "_Document":
        """Read a file, or standard input; exits with an error unless it is JSON that has each field once."""
        name = "standard input" if file == json_text.STANDARD_INPUT else file
        try:
            content = json_text.read(file)
            text = content.decode()
        except OSError as error:
            fail(f"{name} cannot be read: {error.strerror}", status=REFUSED)
        except UnicodeDecodeError as error:
            fail(f"{name} cannot be read as JSON: byte {error.start + 1} is not UTF-8", status=REFUSED)
        try:
            document = cls(name, text, json_text.parsed(text))
            twice = located.located_duplicates(text)
        except json.JSONDecodeError as error:
            spot = located.Spot(error.lineno, error.colno, text.rfind("\n", 0, error.pos) + 1)
            fail(
                f"{name}:{spot.line}:{spot.column}: is not valid JSON: {_reason(error)}",
                status=REFUSED,
                lines=spot.excerpt(text).split("\n"),
            )
        except RecursionError:
            fail(f"{name} is nested too deeply", status=REFUSED)
        if twice:
            faults = [
                {"pointer": pointer, "code": "duplicate", "message": "is there twice: JSON has each field once"}
                for pointer in twice
            ]
            lines = [line for fault in faults for line in document.lines(fault, twice)]
            detail = f"{name} is not valid JSON: fields are there twice."
            fail(detail, {"code": "duplicate", "detail": detail, "faults": faults}, REFUSED, lines)
        return document

    def lines(self, fault: Mapping[str, Any], spots: "Mapping[str, located.Spot]") -> Iterator[str]:
        """Iterate over the lines about a fault: where it is, what is wrong, the line of the document."""
        pointer = fault.get("pointer")
        if pointer is None or pointer not in spots:
            yield f"{fault.get('parameter') or pointer}: {fault['message']}"
            return
        spot = spots[pointer]
        yield f"{self.file}:{spot.line}:{spot.column}: {pointer or 'the document'}: {fault['message']}"
        yield from spot.excerpt(self.text).split("\n")


def _reason(error: json.JSONDecodeError) -> str:
    return error.msg.rstrip(".")


@dataclass(frozen=True, slots=True)
class _Hosts:
    """The registered hosts that run a release; names: None if the token must not see hosts."""

    release: str | None
    names: Sequence[str] | None

    @classmethod
    def of(cls, registry: "client.Registry", release: str | None) -> "_Hosts":
        """Read the hosts that run a release, or make devices from it; raises RegistryError."""
        if release is None:
            return cls(None, [])
        try:
            hosts = [host["host"] for host in registry.items("/hosts") if release in _run_by(host)]
        except client.RegistryError as error:
            if error.status not in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
                raise
            return cls(release, None)
        return cls(release, hosts)

    def document(self) -> Mapping[str, Any] | None:
        """Return it as JSON; null if hosts are closed."""
        return None if self.names is None else {"release": self.release, "count": len(self.names), "names": self.names}

    def line(self) -> str:
        """Return it for people."""
        if self.names is None:
            return f"The hosts that run {self.release} are not shown: this token cannot see registered hosts."
        if not self.names:
            return f"No registered host runs {self.release}."
        hosts = "1 registered host runs" if len(self.names) == 1 else f"{len(self.names):,} registered hosts run"
        return f"{hosts} {self.release}: {named(self.names)}"


def _run_by(host: Mapping[str, Any]) -> set[str]:
    return set(chain(host["releases"], *(unit["releases"] for unit in host["units"])))


def _print_changes(release: str, answer: Mapping[str, Any]) -> None:
    """Print how a release would differ from the previous one."""
    previous = answer["previous"]
    if previous is None:
        print_line(f"{release} would be the first release of {release.partition('@')[0]}, or has the lowest version.")
        return
    if answer["differences"]:
        print_differences(answer["differences"], previous, release, more=_MORE)
    else:
        print_line(f"The device models of {release} do not differ from those of {previous}.")


def _refuse(
    error: "client.RegistryError",
    registry: "client.Registry",
    release: str,
    document: _Document,
    *,
    dry_run: bool,
    is_signed: bool,
) -> NoReturn:
    """Print why the registry refuses a release, and exit with a status; raises RegistryError."""
    problem = error.problem or {}
    if problem.get("code") == _GATE:
        # An envelope signs a release, and no draft.
        foreseen = _foreseen(registry, release, document) if dry_run and not is_signed else None
        broken = problem["broken"][0]
        previous = broken["accepted_by" if broken["refused_by"] == release else "refused_by"]
        hosts = _Hosts.of(registry, previous) if dry_run else None
        _refuse_broken(problem, registry.url, release, foreseen, hosts)
    if any("pointer" in fault for fault in problem.get("faults", [])):
        _refuse_faults(error, document, registry.url, is_signed=is_signed)
    refuse(error, is_publication=True)


def _foreseen(registry: "client.Registry", release: str, document: _Document) -> Mapping[str, Any] | None:
    """Return what a release that the gate refuses would change, None if that is not known; drafts pass the gate."""
    try:
        answer = registry.publish_release(release, {**document.content, "state": "draft"}, dry_run=True)
    except client.RegistryError:
        # A release that is published, or a profile of it, cannot become a draft.
        return None
    # The refusal says it for the release itself.
    return {**answer, "breaks": [], "breaks_count": 0}


def _refuse_broken(
    problem: Mapping[str, Any], url: str, release: str, foreseen: Mapping[str, Any] | None, hosts: _Hosts | None
) -> NoReturn:
    """Print what a release would change and break, and exit."""
    detail = f"{problem['detail']} ({problem['status']} {problem['code']})"
    if is_json_requested():
        changes: dict[str, Any] = {} if foreseen is None else {field: foreseen[field] for field in _FORESEEN}
        changes |= {} if hosts is None else {"hosts": hosts.document()}
        fail(detail, {**problem, **changes}, REFUSED)
    if foreseen is not None:
        _print_changes(release, foreseen)
        print_consequences(foreseen)
    _print_broken(problem["broken"])
    if hosts is not None:
        print_line(hosts.line())
    fail(detail, problem, REFUSED, _help_lines(url, problem))


def _print_broken(broken: Sequence[Mapping[str, Any]]) -> None:
    """Print what the gate refuses, by the two releases that differ."""
    tables: dict[tuple[str, str], dict[tuple[str, str], list[str]]] = {}
    for entry in broken:
        rows = tables.setdefault((entry["accepted_by"], entry["refused_by"]), {})
        for problem in entry["problems"]:
            rows.setdefault((entry["model"], problem["message"]), []).append(entry["profile"])
    for (accepting, refusing), rows in tables.items():
        print_table(
            ("device model", "profiles", "why"),
            [(model, _named_in_lines(profiles), message) for (model, message), profiles in rows.items()],
            f"Would break: {accepting} accepts these profiles, {refusing} does not",
        )


def _named_in_lines(names: Sequence[str]) -> str:
    more = len(names) - _MAX_LINES
    return "\n".join([*sorted(names)[:_MAX_LINES], *([f"and {more:,} more"] if more > 0 else [])])


def _refuse_faults(error: "client.RegistryError", document: _Document, url: str, *, is_signed: bool) -> NoReturn:
    """Print the faults of a document at its lines, and exit."""
    problem = error.problem or {}
    faults = [_placed(fault, is_signed=is_signed) for fault in problem["faults"]]
    spots = located.locate(document.text, [fault["pointer"] for fault in faults if "pointer" in fault])
    for fault in faults:
        if "pointer" in fault:
            fault |= {"line": spots[fault["pointer"]].line, "column": spots[fault["pointer"]].column}
    faults.sort(key=lambda fault: (fault.get("line", 0), fault.get("column", 0)))
    lines = [line for fault in faults for line in document.lines(fault, spots)]
    lines += _help_lines(url, problem)
    detail = f"{document.file}: {problem['detail']} ({problem['status']} {problem['code']})"
    fail(detail, {**problem, "faults": faults}, REFUSED, lines)


def _placed(fault: Mapping[str, Any], *, is_signed: bool) -> dict[str, Any]:
    """Return a fault with its place in the file; in an envelope the file is only a part."""
    pointer = fault.get("pointer")
    if pointer is None or not is_signed:
        return dict(fault)
    if pointer.startswith(_SIGNED):
        return {**fault, "pointer": pointer.removeprefix(_SIGNED)}
    return {**{name: value for name, value in fault.items() if name != "pointer"}, "parameter": pointer}


def _help_lines(url: str, problem: Mapping[str, Any]) -> Sequence[str]:
    address = client.help_address(url, problem)
    return [] if address is None else [f"Help: {address}"]
