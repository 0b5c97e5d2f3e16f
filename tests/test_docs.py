"""The documentation is built without warnings, and has a cause and a cure for every code."""

import re
import subprocess
import sys
from pathlib import Path

from app.domain.document import FaultCode
from app.domain.fleet import BaselineCode
from app.domain.problem import CURES, RULES, ProblemCode, WarningCode

_DOCS = Path(__file__).parents[1] / "docs"


def test_it_is_built_without_warnings(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "mkdocs", "build", "--strict", "--quiet"]
    built = subprocess.run(
        [*command, "--config-file", _DOCS / "mkdocs.yml", "--site-dir", tmp_path],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert (built.returncode, built.stderr) == (0, "")
    for page in tmp_path.glob("*.html"):
        # Nothing but links for people leads to another host.
        assert re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(https?:[^"]+)"', page.read_text()) == [], page


def test_every_code_has_its_cause_and_cure() -> None:
    told = set(re.findall(r"`([a-z-]+)`", (_DOCS / "pages" / "problems.md").read_text()))
    assert set(CURES) == set(RULES) == set(ProblemCode)
    assert {each.value for codes in (ProblemCode, WarningCode, BaselineCode, FaultCode) for each in codes} <= told


def test_pages_and_commands_say_the_same_cures() -> None:
    told = re.findall(r"\| `([a-z-]+)` \| .*? \| (.*?) \|", (_DOCS / "pages" / "problems.md").read_text())
    # Some warnings are called as problems are, which come first.
    cures = {code: cure.replace("`", "") for code, cure in reversed(told)}
    assert {code.value: cures[code.value] for code in CURES} == {code.value: cure for code, cure in CURES.items()}
