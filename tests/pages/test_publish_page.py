"""A vendor without an account tries a release in the form, and sees its faults at their lines."""

import json
import re
from html import unescape
from typing import Any
from urllib.parse import urlencode

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from app.pages import publish
from tests.api.stories import NIC, QUEUES
from tests.api.test_tokens import bearer, create
from tests.conftest import make_app, shared_registry
from tests.pages.test_pages import Page
from tests.pages.world import FIRMWARE, SCRIPT, fill

unchanged = shared_registry(fill)
THREE = f"{FIRMWARE}@3"
FAULTY = f"""{{
  "descripton": "misspelt {SCRIPT}",
  "models": {{
    "vendor-a.com/new": {{
      "variables": {{
        "a b": {{"type": "int", "init_value": 1}},
        "c": {{"type": "integer", "init_value": 1}}
      }}
    }}
  }},
  "profiles": ["vendor-a.com/none"]
}}
"""


def posted(registry: TestClient, document: str | bytes, release: str = THREE, **files: bytes) -> Response:
    """Post the form as a browser does, without a token."""
    parts: dict[str, Any] = {"release": (None, release), "document": (None, document)}
    parts |= {name: ("release.json", content, "application/json") for name, content in files.items()}
    return TestClient(registry.app).post("/ui/publish", files=parts)


def result(response: Response) -> str:
    """Return what the page says of the release."""
    assert response.status_code == 200, response.text
    found = re.search('<section id="result">(.*)<h2 id="try">', response.text, re.DOTALL)
    assert found is not None
    return " ".join(unescape(re.sub("<[^>]+>", " ", found[1])).split())


def faulty_lines(response: Response) -> dict[int, str]:
    """Return what is said beside each faulty line."""
    lines = re.findall('<li value="[0-9]+" id="line-([0-9]+)" class="faulty">(.*?)</li>', response.text, re.DOTALL)
    return {int(number): unescape(re.sub("<[^>]+>", "", content)) for number, content in lines}


def kept(response: Response) -> str:
    """Return the text that stays in the form."""
    found = re.search("<textarea[^>]*>\n(.*)</textarea>", response.text, re.DOTALL)
    assert found is not None
    return unescape(found[1])


def test_all_faults_stand_beside_their_lines_and_the_text_stays(unchanged: TestClient) -> None:
    response = posted(unchanged, FAULTY)
    faults = faulty_lines(response)
    assert sorted(faults) == [2, 6, 7, 11]
    assert 'did you mean "description"?' in faults[2]
    assert "invalid-name" in faults[6]
    assert "must be bool, int or str" in faults[7]
    assert "column 15" in faults[7]
    assert "vendor-a.com/none" in faults[11]
    assert result(response).startswith("4 faults")
    assert kept(response) == FAULTY
    assert response.headers["cache-control"] == "no-store"


def test_windows_line_breaks_and_files_are_read_the_same(unchanged: TestClient) -> None:
    expected = faulty_lines(posted(unchanged, FAULTY))
    assert faulty_lines(posted(unchanged, FAULTY.replace("\n", "\r\n"))) == expected
    from_file = posted(unchanged, "{}", file=FAULTY.encode())
    assert faulty_lines(from_file) == expected
    assert kept(from_file) == FAULTY
    form = urlencode({"release": THREE, "document": FAULTY.replace("misspelt", "größer")})
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    urlencoded = TestClient(unchanged.app).post("/ui/publish", content=form, headers=headers)
    assert faulty_lines(urlencoded).keys() == expected.keys()
    assert "größer" in kept(urlencoded)


@pytest.mark.parametrize(
    ("document", "line", "words"),
    [
        ('{"models": {},\n "x": [1,]}', 2, "column 10: "),
        ('{"models": {},\n\n "models": {}}', 3, 'duplicate name "models"'),
        ('{"models": {},\n "x": NaN}', 2, "NaN is not a JSON value"),
        ('{"models": {},\n "x": "\\ud800"}', 2, "lone surrogate"),
        (b'{"models": {},\n "\xc3\xa4": "\xff"}', 2, "not UTF-8"),
        ("[" * 100_000, 1, "nested too deeply"),
        ("{", 1, "Expecting property name"),
        ('{"x": ' + "9" * 5_000 + "}", 1, "limit"),
        ("\n\n5", 3, "must be an object"),
    ],
)
def test_what_breaks_the_text_is_marked(unchanged: TestClient, document: str | bytes, line: int, words: str) -> None:
    content = document.encode() if isinstance(document, str) else document
    faults = faulty_lines(posted(unchanged, "", file=content))
    assert list(faults) == [line]
    assert words in faults[line]


def test_long_texts_are_shown_around_their_faults(unchanged: TestClient) -> None:
    models: dict[str, Any] = {f"vendor-a.com/m{number}": {"variables": {}} for number in range(400)}
    models["vendor-a.com/m 200"] = {"variables": {}}
    response = posted(unchanged, json.dumps({"models": models}, indent=1))
    ((line, _),) = faulty_lines(response).items()
    numbers = [int(number) for number in re.findall('<li value="([0-9]+)"', response.text)]
    assert numbers == list(range(line - 3, line + 4))
    assert "7 of 1,207 lines are shown" in result(response)
    # A single line is shown around its first fault.
    short = result(posted(unchanged, json.dumps({"models": models})))
    assert "m 200" in short
    assert "vendor-a.com/m0" not in short
    assert len(short) < 1_000


def test_a_release_without_faults_is_answered_in_words(unchanged: TestClient) -> None:
    document = {"models": {"vendor-a.com/new": {"variables": {"a": {"type": "int", "init_value": 1}}}}}
    text = result(posted(unchanged, json.dumps(document), "vendor-a.com/other@1"))
    assert text.startswith("No faults")
    assert "would add 1 release, 1 new device model, 1 variable set and 1 new variable." in text
    assert "There is no version before" in text
    assert "you need a token of vendor-a.com" in text
    assert "profile-registry publish release.json --release vendor-a.com/other@1" in text
    assert "is not registered" not in text
    unknown = result(posted(unchanged, '{"models": {"vendor-x.com/m": {"variables": {}}}}', "vendor-x.com/fw@1"))
    assert "vendor-x.com is not registered here" in unknown


def test_what_a_release_would_break_is_named_with_the_reasons(unchanged: TestClient) -> None:
    document: dict[str, Any] = {"models": {NIC: {"variables": {}}}, "profiles": []}
    text = result(posted(unchanged, json.dumps(document)))
    assert text.startswith("Refused: it breaks earlier releases")
    assert f"vendor-a.com/base : {FIRMWARE}@2 accepts it, {THREE} refuses it." in text
    assert "No longer listed (1)" in text
    assert f"1 registered host runs {FIRMWARE}@2" in text
    assert "--override" in text
    conflict = posted(unchanged, json.dumps({"models": {NIC: {"variables": {"num-queues": QUEUES}}}}), f"{FIRMWARE}@1")
    assert result(conflict).startswith("This would change what is published")
    again = result(posted(unchanged, '{"models": {}}', f"{FIRMWARE}@2"))
    assert "publishing it again changes nothing" in again


def test_hosts_are_not_counted_for_somebody_who_must_not_know_them(database_url: str) -> None:
    with TestClient(make_app(database_url, read_hosts="token")) as registry:
        text = result(posted(registry, '{"models": {"vendor-x.com/m": {"variables": {}}}}', "vendor-x.com/fw@1"))
        assert "registered host" not in text
    with TestClient(make_app(database_url, read="token")) as registry:
        for response in (posted(registry, "{}"), registry.get("/ui/publish")):
            assert response.status_code == 401
            assert response.headers["www-authenticate"].startswith("Basic")


def test_a_token_is_told_what_it_can_publish(registry: TestClient) -> None:
    fill(registry)
    document: dict[str, Any] = {"models": {"vendor-a.com/new": {"variables": {}}}}
    form = {"release": "vendor-a.com/other@1", "document": json.dumps(document)}

    def said(created: Any) -> str:
        return result(TestClient(registry.app).post("/ui/publish", data=form, headers=bearer(created)))

    assert "Before you can publish it" not in said(create(registry, "publisher", vendor="vendor-a.com"))
    other = said(create(registry, "publisher", vendor="vendor-b.com"))
    assert "Your token can publish only names of vendor-b.com." in other
    assert "Your token can only read." in said(create(registry, "reader"))
    wrong = bearer({"token": "wrong"})
    assert TestClient(registry.app).post("/ui/publish", data=form, headers=wrong).status_code == 401


@pytest.mark.parametrize("name", publish._EXAMPLES)
def test_each_example_can_be_published_as_it_is(registry: TestClient, name: str) -> None:
    page = registry.get("/ui/publish", params={"example": name})
    release = publish._EXAMPLES[name][1]
    assert f'value="{release}"' in page.text
    assert registry.put("/vendors/vendor.example", json={}).is_success
    answer = registry.put(f"/releases/{release}", json=json.loads(kept(page)))
    assert (answer.status_code, answer.json()["not_accepted"]) == (201, [])


HOSTILE: dict[str, str | bytes] = {
    "nothing": "",
    "white space": " \n",
    "scripts": json.dumps({SCRIPT: 1, "models": {f"vendor-a.com/{SCRIPT}": {"variables": {SCRIPT: SCRIPT}}}}),
    "an end of the form": json.dumps({"models": {}, "description": f"</textarea>{SCRIPT}"}),
    "NUL": b'{"models": \0}',
    "an escaped NUL": '{"models": {"vendor-a.com/\\u0000": {"variables": {"\\u0000": 1}}}, "description": "\\u0000"}',
    "deep objects": '{"models": {"vendor-a.com/m": {"variables": ' + '{"a":' * 800 + "1" + "}" * 803,
    "deep arrays": '{"models": ' + "[" * 900 + "]" * 900 + "}",
    "quotes": '"' * 100_000,
    "many faults": json.dumps({"models": {f"vendor-a.com/m {number}": 1 for number in range(3_000)}}),
    "an envelope": '{"payloadType": "x", "payload": "W1tb", "signatures": [{"keyid": 5, "sig": "b"}]}',
    "a number": "1e999",
    "quotes after a number that is none": '{"x": NaNx, "\\' + '"\\' * 200_000,
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_texts_are_answered_and_escaped(unchanged: TestClient, case: str) -> None:
    response = posted(unchanged, HOSTILE[case])
    assert response.status_code == 200
    page = Page(response)
    assert [bool(told.get("src")) for tag, told in page.tags if tag == "script"] == [True]
    assert len([tag for tag, _ in page.tags if tag == "textarea"]) == 1
    assert len(page.ids) == len(set(page.ids))


@pytest.mark.parametrize("release", ["", SCRIPT, "vendor-a.com/fw", "vendor-a.com/fw@", "\ud800@1", "a" * 1_000])
def test_a_name_that_cannot_be_is_refused_beside_the_form(unchanged: TestClient, release: str) -> None:
    form = {"release": release.encode("utf-8", "surrogatepass"), "document": b'{"models": {}}'}
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    response = TestClient(unchanged.app).post("/ui/publish", content=urlencode(form), headers=headers)
    assert result(response).startswith("The name of the release is not valid")
    assert kept(response) == '{"models": {}}'
    assert SCRIPT not in response.text


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b"", "multipart/form-data", 400),
        (b"--x\r\n\r\n--x--", "multipart/form-data; boundary=x", 400),
        (b'--x\r\ncontent-disposition: form-data; name="release"\r\n\r\n', 'multipart/form-data; boundary="x"', 200),
        (b"--x\r\n" + b"content-disposition:" * 50_000 + b"\r\n\r\n--x--", "multipart/form-data; boundary=x", 400),
        (b"--\r\n" * 10_000, "multipart/form-data; boundary=-", 400),
        (b"&" * 100_000, "application/x-www-form-urlencoded", 200),
        (b"%ff=%ff&document=%", "application/x-www-form-urlencoded", 200),
        (b"{}", "application/json", 200),
        (b"x", "\xff", 200),
    ],
)
def test_bodies_that_are_no_form_say_so(unchanged: TestClient, content: bytes, content_type: str, status: int) -> None:
    headers = {b"Content-Type": content_type.encode("latin-1")}
    response = TestClient(unchanged.app).post("/ui/publish", content=content, headers=headers)
    assert response.status_code == status
    if status == 200:
        assert result(response).startswith("The name of the release is not valid")
    else:
        assert "The body is not a form" in response.text


def test_limits_hold_as_for_questions(database_url: str) -> None:
    with TestClient(make_app(database_url, max_question_bytes=10_000, max_steps=10_000)) as registry:
        too_large = registry.post("/ui/publish", files={"document": (None, b" " * 30_000_000)})
        assert too_large.status_code == 413
        assert too_large.headers["content-type"].startswith("text/html")
        assert "10,000 bytes" in registry.get("/ui/publish").text
    with TestClient(make_app(database_url, max_steps=10_000)) as registry:
        over = posted(registry, json.dumps({"models": {}, "description": "x" * 300_000}))
        assert over.status_code == 422
        assert "takes more than 10,000 steps of work to try here" in over.text
        assert len(kept(over)) > 300_000


def test_other_sites_cannot_post_the_form(unchanged: TestClient) -> None:
    anybody = TestClient(unchanged.app)
    for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 403)):
        assert anybody.post("/ui/publish", headers={"Sec-Fetch-Site": site}).status_code == status
    assert anybody.head("/ui/publish").status_code == 200
    assert anybody.put("/ui/publish").status_code == 405
