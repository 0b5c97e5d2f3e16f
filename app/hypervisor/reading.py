"""Texts with VMs, as people paste them: libvirt domains, one after the other, or questions in JSON."""

import re
from collections.abc import Iterator, Sequence
from typing import Any
from xml.etree.ElementTree import Element

from app.hypervisor.domain import DomainError, parsed

_DOMAIN = re.compile(rb"<domain(?=[\s>/])")
_SPACE = b" \t\r\n"
# What a question says in addition to its VMs.
_OF_QUESTION = frozenset({"destinations", "leave_out", "policy", "detail"})
# What can stand between documents, with how it ends.
_BETWEEN = ((b"<!--", b"-->"), (b"<?", b"?>"))


def domains(text: bytes, source: str) -> Iterator[Element | DomainError]:
    """Iterate over the libvirt domains of a text, which can follow each other; an error where one cannot be read.

    source: where the text comes from.
    """
    starts = [match.start() for match in _DOMAIN.finditer(text)]
    if not starts:
        yield DomainError(f"{source} has no <domain>")
        return
    if not _is_between(text[: starts[0]]):
        yield DomainError(f"{source} has text before its first <domain>")
    for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(text)], strict=True), 1):
        name = source if len(starts) == 1 else f"{source}, domain {number}"
        try:
            yield parsed(_without_prolog(text[start:end]), name)
        except DomainError as error:
            yield error


def is_json(text: bytes) -> bool:
    """Return whether a text is meant as JSON, not as XML."""
    return text.lstrip()[:1] in {b"{", b"["}


def vms_in(document: Any) -> tuple[Any, Sequence[str]]:
    """Return the VMs of a question, and the fields of it that are left aside, such as its destinations.

    document: {"devices": …}, {"vms": …}, or a list of VMs. The VMs can be something else than a list, then it is wrong.
    """
    if not isinstance(document, dict):
        return document, ()
    aside = sorted(document.keys() & _OF_QUESTION)
    if "vms" in document:
        return document["vms"], aside
    return [{name: content for name, content in document.items() if name not in _OF_QUESTION}], aside


def hosts_of(vm: Any) -> frozenset[str]:
    """Return the registered hosts on which a VM runs, as far as it says so: they are no places to go to in a drain.

    vm: as a question has it, or something wrong.
    """
    devices = vm.get("devices") if isinstance(vm, dict) else None
    places = [vm, *(devices if isinstance(devices, list) else ())]
    stated = (place.get("host") for place in places if isinstance(place, dict))
    return frozenset(host for host in stated if isinstance(host, str))


def _without_prolog(text: bytes) -> bytes:
    """Return a document without what stands before the next one."""
    end = text.rfind(b"</domain>") + len(b"</domain>")
    return text[:end] if end >= len(b"</domain>") and _is_between(text[end:]) else text


def _is_between(text: bytes) -> bool:
    """Return whether a text has only white space, comments and declarations."""
    rest = text.lstrip(_SPACE)
    while rest:
        end = next((rest.find(end, len(begin)) + len(end) for begin, end in _BETWEEN if rest.startswith(begin)), 0)
        # An end that is not found is before the text.
        if end < len(_BETWEEN[0][0]):
            return False
        rest = rest[end:].lstrip(_SPACE)
    return True


def pairs(lines: Sequence[str]) -> Iterator[tuple[str, str] | str]:
    """Iterate over lines of the form <id>=<value>; a line of another form comes as it is."""
    for line in lines:
        name, equals, value = (part.strip() for part in line.partition("="))
        yield (name, value) if equals and name and value else line
