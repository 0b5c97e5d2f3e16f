"""The documentation builds without warnings and has a meaning and a cure for every code."""

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app.api.error_code import ERRORS, ErrorCode
from app.domain.fleet.member import BASELINES, BaselineCode
from app.domain.publishing.trusted_publisher import RefusalCode
from app.domain.values.document import FaultCode
from app.domain.values.fault import FAULTS
from app.domain.values.meaning import Meaning
from app.domain.verdict.advice import ADVICE
from app.domain.verdict.problem import RULES, ProblemCode, WarningCode
from app.domain.verdict.warning import UNCHECKED, WARNINGS

_DOCS = Path(__file__).parents[1] / "docs"
_PROBLEMS = _DOCS / "pages" / "problems.md"
_TABLE = re.compile(r"<!-- (\w+) -->\n\n(.*?)\n\n<!-- end -->", re.DOTALL)


def test_the_documentation_builds_without_warnings(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "mkdocs", "build", "--strict"]
    build = subprocess.run(
        [*command, "--config-file", _DOCS / "mkdocs.yml", "--site-dir", tmp_path],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert build.returncode == 0, build.stderr
    assert "WARNING" not in build.stderr
    for page in tmp_path.glob("*.html"):
        # Pages load nothing from another host; only links may lead to one.
        assert re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)"', page.read_text()) == [], page


def test_every_code_has_its_meaning() -> None:
    assert list(RULES) == list(ProblemCode)
    assert list(ADVICE) == list(ProblemCode)
    assert set(WARNINGS) == set(WarningCode)
    assert set(FAULTS) == set(FaultCode)
    assert set(ERRORS) == set(ErrorCode)
    assert {str(code) for code in BaselineCode} - {str(code) for code in ProblemCode} == {*map(str, BASELINES)}
    assert {code.value for code in RefusalCode} <= set(ERRORS)


def _tables() -> Mapping[str, str]:
    """Return the tables of codes, in Markdown, as the page has them between their markers."""
    rules = [(f"`{code}`", str(rule.step or ""), rule.sentence, rule.cure) for code, rule in RULES.items()]
    errors = [
        (f"{' '.join(str(status.value) for status in row.statuses)} `{code}`", row.sentence, row.cure)
        for code, row in ERRORS.items()
    ]
    return {
        "rules": _markdown(("code", "step", "rule that is not met", "cure"), rules),
        "warnings": _markdown(("code", "meaning", "cure"), _meanings(WARNINGS)),
        "unchecked": _markdown(("entry", "meaning", "cure"), _meanings(UNCHECKED)),
        "baselines": _markdown(("code", "rule that is not met", "cure"), _meanings(BASELINES)),
        "faults": _markdown(("code", "meaning", "cure"), _meanings(FAULTS)),
        "errors": _markdown(("status and code", "meaning", "cure"), errors),
    }


def _meanings(table: Mapping[Any, Meaning]) -> Sequence[Sequence[str]]:
    return [(f"`{code}`", row.sentence, row.cure) for code, row in table.items()]


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    # What looks like a tag would be one.
    cells = [[re.sub(r"(<\w[^>]*>)", r"`\1`", cell) for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def test_the_page_of_problems_has_the_tables_of_codes() -> None:
    """Run `python -m tests.test_docs` to write the tables again."""
    assert dict(_TABLE.findall(_PROBLEMS.read_text())) == _tables()


if __name__ == "__main__":
    tables = _tables()
    _PROBLEMS.write_text(
        _TABLE.sub(lambda found: f"<!-- {found[1]} -->\n\n{tables[found[1]]}\n\n<!-- end -->", _PROBLEMS.read_text())
    )
