"""The help has a page for every code, and pages link every code that they show."""

import re
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.api.error_code import ERRORS, ErrorCode
from app.domain.fleet.member import BaselineCode
from app.domain.publishing.trusted_publisher import RefusalCode
from app.domain.values.document import FaultCode
from app.domain.verdict.advice import ADVICE
from app.domain.verdict.problem import RULES, ProblemCode, WarningCode
from app.domain.verdict.steps import _NOT_CHECKED, SAVED_STATE
from app.domain.verdict.warning import UNCHECKED
from app.pages.guide import GUIDES
from app.storage.failure import Cause
from tests.conftest import make_app, shared_registry
from tests.pages.test_pages import Page, look
from tests.pages.world import FIRMWARE, NIC, fill

_ROOT = Path(__file__).parents[2]
_ENUMS = (ProblemCode, WarningCode, BaselineCode, ErrorCode, RefusalCode, FaultCode)
CODES = sorted({str(code) for codes in _ENUMS for code in codes} | set(UNCHECKED))

unchanged = shared_registry(fill)


@pytest.mark.parametrize("code", CODES)
def test_every_code_has_a_page(code: str, unchanged: TestClient) -> None:
    page = look(unchanged, f"/help/{code}")
    assert page.text.count("What helps:") == page.text.count("An example of the message:") > 0
    for table, heading in ((RULES, "Problems of a verdict"), (ERRORS, "Errors of a request")):
        row = next((row for known, row in table.items() if known == code), None)
        assert (heading in page.text) is (row is not None)
        if row is not None:
            assert " ".join(row.sentence.split()) in page.text
            assert " ".join(row.cure.split()) in page.text


def test_the_notes_of_unchecked_are_those_that_a_verdict_makes() -> None:
    assert set(UNCHECKED) == {SAVED_STATE, *_NOT_CHECKED.values()}


def test_a_problem_says_what_each_party_can_do(unchanged: TestClient) -> None:
    page = look(unchanged, "/help/profile-not-listed")
    advice = ADVICE[ProblemCode.PROFILE_NOT_LISTED]
    for party, text in (
        ("vendor", advice.vendor),
        ("operator", advice.operator),
        ("orchestrator", advice.orchestrator),
    ):
        assert re.search(rf"As an? {party} {re.escape(text)}", page.text)
    assert "/help/verdict#step-8" in page.links
    assert "As a vendor" not in look(unchanged, "/help/unknown-host").text


def test_the_help_lists_all_codes_and_finds_them_by_words(unchanged: TestClient) -> None:
    page = look(unchanged, "/help")
    assert {f"/help/{code}" for code in CODES} <= {*page.links}
    found = look(unchanged, "/help", q="OFF value")
    assert "/help/cannot-be-off" in found.links
    assert "/help/too-slow" not in found.links
    assert re.search(r"\d+ of \d+ entries contain OFF value", found.text)
    assert "Enter fewer words" in look(unchanged, "/help", q="no-such-words").text


def test_a_code_that_is_not_known_suggests_one(unchanged: TestClient) -> None:
    response = unchanged.get("/help/value-not-alowed")
    assert response.status_code == 404
    assert 'did you mean "value-not-allowed"?' in Page(response).text


def test_the_verdict_is_explained_step_by_step(unchanged: TestClient) -> None:
    page = look(unchanged, "/help/verdict")
    for rule in RULES.values():
        assert rule.sentence in page.text
        assert rule.step is None or f"step-{rule.step}" in page.ids
    assert "off value" in look(unchanged, "/help/terms").text


def test_the_causes_of_unavailable_have_anchors(unchanged: TestClient) -> None:
    assert {cause.value for cause in Cause} <= {*look(unchanged, "/help/unavailable").ids}


@pytest.mark.parametrize("name", GUIDES)
def test_a_guide_is_that_of_the_documentation(name: str, unchanged: TestClient) -> None:
    page = look(unchanged, f"/help/guides/{name}")
    text = (_ROOT / "docs" / "pages" / f"{name}.md").read_text()
    assert text.startswith(f"# {GUIDES[name]}\n")
    anchors = set(re.findall(r"\]\(#([\w-]+)\)", text))
    assert anchors <= {*page.ids}
    for heading in re.findall(r"^##+ (.*)$", text, re.MULTILINE):
        assert heading.replace("`", "") in page.text
    # What is not served here is plain text.
    assert not any(link.endswith(".md") or "design/" in link for link in page.links)
    assert "](" not in re.sub(r"<pre.*?</pre>", "", unchanged.get(f"/help/guides/{name}").text, flags=re.DOTALL)


def test_a_guide_that_does_not_exist_suggests_one(unchanged: TestClient) -> None:
    for path in ("/help/guides/publsh", "/help/guides/..%2Findex", "/help/guides/problems"):
        response = unchanged.get(path)
        assert response.status_code == 404
    assert 'did you mean "publish"?' in Page(unchanged.get("/help/guides/publsh")).text


def test_the_wheel_and_the_image_contain_the_guides() -> None:
    wheel = tomllib.loads((_ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    included = {source: target for source, target in wheel["force-include"].items() if source.startswith("docs/")}
    assert included == {f"docs/pages/{name}.md": f"app/guides/{name}.md" for name in GUIDES}
    assert "COPY docs/pages docs/pages" in (_ROOT / "Dockerfile").read_text()
    assert "!docs/pages" in (_ROOT / ".dockerignore").read_text()


class _Codes(HTMLParser):
    """The elements that show a code, by tag."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element that shows a code."""
        if dict(attrs).get("class") == "code":
            self.tags.append(tag)


def test_pages_link_every_code_that_they_show(unchanged: TestClient) -> None:
    asked = f"model={NIC}&source={FIRMWARE}@1&profile=vendor-a.com/base&value=num-queues=6"
    for path in (
        f"/ui/ask?{asked}&destination={FIRMWARE}@2&destination={FIRMWARE}@9&destination=vendor-b.com/dpu@1",
        f"/ui/support-matrix/reasons?profile=vendor-a.com/more&release={FIRMWARE}@2",
        "/ui/models?limit=0",
        "/help",
    ):
        tags = _Codes(unchanged.get(path).text).tags
        assert set(tags) == {"a"}, path


def test_behind_a_path_of_a_proxy_the_help_links_have_it(unchanged: TestClient) -> None:
    with TestClient(unchanged.app, root_path="/registry") as proxied:
        for path in ("/help", "/help/unknown-model", "/help/verdict", "/help/guides/publish", "/ui/none"):
            page = Page(proxied.get(path))
            own = [link for link in (*page.links, *page.loads) if link.startswith("/")]
            assert own
            assert all(link.startswith("/registry/") for link in own), path


def test_the_help_needs_no_token(database_url: str) -> None:
    with TestClient(make_app(database_url, read="token")) as closed:
        for path in ("/help", "/help/unauthorized", "/help/verdict", "/help/terms", "/help/guides/ask"):
            assert closed.get(path).status_code == 200, path
