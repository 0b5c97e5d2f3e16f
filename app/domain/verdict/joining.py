"""Join problems that say the same of many variables: one sentence for people, one list for programs."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from app.domain.verdict.problem import Caution, Problem

# From this many on, problems that differ only in the variable are joined.
_MANY = 3
_MAX_NAMED = 5


class Entry(NamedTuple):
    """A problem or a warning as people read it. variables: those concerned, sorted where several are joined."""

    code: str
    message: str
    variables: tuple[str, ...] = ()

    @classmethod
    def of(cls, stated: Problem | Caution) -> "Entry":
        """Return a problem, with its variable if it is about one, or a warning, as an entry."""
        variable = stated.variable if isinstance(stated, Problem) else None
        return cls(stated.code.value, stated.message, () if variable is None else (variable,))


def joined(entries: Iterable[Entry]) -> list[Entry]:
    """Return entries with those joined that say the same of many variables, at the place of the first of them.

    Entries say the same where their messages do, apart from the variable's name. Each has at most one variable.
    """
    alike: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        alike.setdefault((entry.code, _pattern(entry)), []).append(entry)
    result = []
    for (code, pattern), group in alike.items():
        if len(group) < _MANY or not group[0].variables:
            result += group
        else:
            variables = tuple(sorted(entry.variables[0] for entry in group))
            result.append(Entry(code, _sentence(pattern, variables), variables))
    return result


def without_name(message: str, name: str, words: str) -> str:
    """Return a message with words in place of a name, where it is not the beginning of a longer name."""
    return re.sub(rf"(?<![\w./-]){re.escape(name)}(?![\w/@-]|\.\w)", lambda _: words, message)


# A character that no message has: it stands for the variable.
_HERE = "\0"


def _pattern(entry: Entry) -> str:
    """Return a message without the name of its variable, where that is a word of it."""
    if not entry.variables:
        return entry.message
    name = re.escape(entry.variables[0])
    return re.sub(rf"(?<![\w.-]){name}(?![\w-]|\.\w)", _HERE, entry.message)


def _sentence(pattern: str, variables: tuple[str, ...]) -> str:
    """Return the sentence about many variables: `f.csum, f.mq and 38 more, each on at the source, but …`."""
    more = len(variables) - _MAX_NAMED
    names = ", ".join(variables[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
    rest = re.sub(rf"{_HERE}=", "each ", pattern.replace(f"with {_HERE}=", "with all of them "))
    return f"{len(variables)} variables ({names}): {rest.replace(_HERE, 'it')}"
