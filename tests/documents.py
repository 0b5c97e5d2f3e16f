"""The commands and requests of a document, and their answers: to be run by tests as readers would."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
_FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INDENTED = re.compile(r"(?:^ {4}.*\n|^\n(?= {4}))+", re.MULTILINE)
_REQUEST = re.compile(r"^(GET|PUT|POST|PATCH|DELETE) (/\S+)\n?(.*)", re.DOTALL)
_COMMAND = re.compile(r"(?:^|[|;&(] *|\$ |\w=\S+ )(profile-registry [^|;&\n#]*)", re.MULTILINE)
# What differs each time.
_DIFFERING = (
    (re.compile(r'"(registry|at|created_at|id)":"[^"]*"'), r'"\1":"…"'),
    (re.compile(r'"seq":\d+'), '"seq":0'),
    (re.compile(r"sha256:[0-9a-f…]*"), "sha256:…"),
)


@dataclass(frozen=True, slots=True)
class Shell:
    """Commands for a shell, with the answers that the document shows right after them, line by line."""

    text: str
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sent:
    """A request as the document writes it."""

    method: str
    path: str
    body: str


def shells(document: str) -> Iterator[Shell]:
    """Iterate over the blocks `sh` of a document; a block `json` right after one has its answers."""
    blocks = list(_FENCED.finditer(document))
    for block, following in zip(blocks, [*blocks[1:], None], strict=True):
        if block[1] != "sh":
            continue
        answers: tuple[str, ...] = ()
        if following is not None and following[1] == "json":
            answers = tuple(line for line in following[2].splitlines() if line.strip())
        yield Shell(block[2], answers)


def requests(document: str) -> Iterator[Sent]:
    """Iterate over the requests in the indented blocks of a document."""
    for block in _INDENTED.finditer(_FENCED.sub("", document)):
        lines = "\n".join(line[4:] for line in block[0].splitlines()).strip()
        for text in re.split(r"\n\n(?=[A-Z]+ /)", lines):
            if (request := _REQUEST.match(text)) is not None and "…" not in text:
                yield Sent(request[1], request[2], request[3].strip())


def commands(document: str) -> Iterator[str]:
    """Iterate over all commands `profile-registry …` in the blocks of a document, also those that no test can run."""
    blocks = [block[2] for block in _FENCED.finditer(document) if block[1] in {"sh", "console", "yaml", "bash"}]
    blocks += [block[0] for block in _INDENTED.finditer(_FENCED.sub("", document))]
    for block in blocks:
        joined = re.sub(r"\\\n\s*", " ", block)
        for command in _COMMAND.findall(joined):
            # In `"$(profile-registry …)"` it ends with the substitution.
            yield re.sub(r'\)"?$', "", command.strip())


def normal(line: str) -> str:
    """Return a line without what differs each time."""
    for pattern, replacement in _DIFFERING:
        line = pattern.sub(replacement, line)
    return line.strip()
