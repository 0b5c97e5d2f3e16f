"""Texts with VMs, as people paste them: libvirt domains, one after the other, or questions in JSON."""

import re
from collections.abc import Iterator, Sequence
from xml.etree.ElementTree import Element

from app.hypervisor.domain import DomainError, parsed

_DOMAIN = re.compile(rb"<domain(?=[\s>/])")
# What stands before the root of each document, such as a comment that virsh writes.
_PROLOG = re.compile(rb"\s*(?:<\?xml[^>]*\?>|<!--.*?-->|\s)*", re.DOTALL)


def domains(text: bytes, source: str) -> Iterator[Element | DomainError]:
    """Iterate over the libvirt domains of a text, which can follow each other; an error where one cannot be read.

    source: where the text comes from.
    """
    starts = [match.start() for match in _DOMAIN.finditer(text)]
    if not starts:
        yield DomainError(f"{source} has no <domain>")
        return
    if _PROLOG.fullmatch(text, 0, starts[0]) is None:
        yield DomainError(f"{source} has text before its first <domain>")
    for number, (start, end) in enumerate(zip(starts, [*starts[1:], len(text)], strict=True), 1):
        name = source if len(starts) == 1 else f"{source}, domain {number}"
        try:
            yield parsed(_without_prolog(text[start:end]), name)
        except DomainError as error:
            yield error


def _without_prolog(text: bytes) -> bytes:
    """Return a document without what stands before the next one."""
    end = text.rfind(b"</domain>")
    return text if end < 0 or _PROLOG.fullmatch(text, end + len(b"</domain>")) is None else text[: end + 9]


def pairs(lines: Sequence[str]) -> Iterator[tuple[str, str] | str]:
    """Iterate over lines of the form <id>=<value>; a line of another form comes as it is."""
    for line in lines:
        name, equals, value = (part.strip() for part in line.partition("="))
        yield (name, value) if equals and name and value else line
