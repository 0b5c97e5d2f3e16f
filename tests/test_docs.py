"""The documentation builds without warnings and has a cause and a cure for every code."""

import re
import subprocess
import sys
from pathlib import Path

from app.domain.fleet.member import BaselineCode
from app.domain.publishing.trusted_publisher import RefusalCode
from app.domain.values.document import FaultCode
from app.domain.verdict.problem import RULES, ProblemCode, WarningCode

_DOCS = Path(__file__).parents[1] / "docs"
_PROBLEMS = _DOCS / "pages" / "problems.md"
_RULES = re.compile(r"<!-- rules -->\n\n(.*?)\n\n<!-- end -->", re.DOTALL)


def test_the_documentation_builds_without_warnings(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "mkdocs", "build", "--strict", "--quiet"]
    build = subprocess.run(
        [*command, "--config-file", _DOCS / "mkdocs.yml", "--site-dir", tmp_path],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert (build.returncode, build.stderr) == (0, "")
    for page in tmp_path.glob("*.html"):
        # Pages load nothing from another host; only links may lead to one.
        assert re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)"', page.read_text()) == [], page


def test_every_code_has_its_cause_and_cure() -> None:
    documented = set(re.findall(r"`([a-z-]+)`", _PROBLEMS.read_text()))
    assert set(RULES) == set(ProblemCode)
    assert {
        code.value for codes in (ProblemCode, WarningCode, BaselineCode, FaultCode, RefusalCode) for code in codes
    } <= documented


def rules_table() -> str:
    """Return the table of problem codes, in Markdown, as the page has it between its two markers."""
    rows = [
        f"| `{code.value}` | {'' if rule.step is None else rule.step} | {rule.sentence} | {rule.cure} |"
        for code, rule in RULES.items()
    ]
    return "\n".join(["| code | step | rule that is not met | cure |", "| --- | --- | --- | --- |", *rows])


def test_the_page_of_problems_has_the_table_of_rules() -> None:
    """Run `python -m tests.test_docs` to write the table again."""
    assert _RULES.search(_PROBLEMS.read_text())[1] == rules_table()  # type: ignore[index]


if __name__ == "__main__":
    _PROBLEMS.write_text(_RULES.sub(f"<!-- rules -->\n\n{rules_table()}\n\n<!-- end -->", _PROBLEMS.read_text()))
