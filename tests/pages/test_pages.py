"""What the pages say, over HTTP."""

import re
import shlex
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qsl, urldefrag, urlsplit

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from httpx2 import Response
from pydantic import SecretStr

from app.domain.problem import RULES, ProblemCode
from app.main import service
from app.settings import Settings
from app.storage.replica import Databases
from tests.conftest import AUTHORIZATION, TOKEN
from tests.pages.world import FIRMWARE, GPU, NIC, SCRIPT, STRANGE, fill

_MOST_VISITED = 400


class Page(HTMLParser):
    """A page as it is read: its text, and where its links, forms and files lead."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.links: list[str] = []
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(response.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        told = dict(attrs)
        self.tags.append((tag, told))
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag == "a" and told.get("href"):
            self.links.append(str(told["href"]))
        self.loads += [
            str(told[name]) for name in ("src", "href") if tag in {"link", "script", "img"} and told.get(name)
        ]

    def handle_data(self, data: str) -> None:
        """Note a text."""
        self.texts.append(data)

    @property
    def text(self) -> str:
        """All text, white space made one."""
        return " ".join(" ".join(self.texts).split())


@pytest.fixture
def filled(registry: TestClient) -> TestClient:
    """Return a registry that has something to show."""
    fill(registry)
    return registry


def look(registry: TestClient, path: str, **query: object) -> Page:
    """Look at a page."""
    parameters: Any = {name.rstrip("_"): value for name, value in query.items()}
    response = registry.get(path, params=parameters or None)
    assert response.status_code == 200, (path, response.text)
    assert response.headers["content-type"].startswith("text/html")
    return Page(response)


def row(page: Page, name: str) -> str:
    """Return the text of a page from a name on, as far as a row goes."""
    return page.text[page.text.index(name) :][:200]


def test_every_link_of_every_page_leads_somewhere(filled: TestClient) -> None:
    ahead, seen = ["/"], {"/"}
    while ahead and len(seen) < _MOST_VISITED:
        path = ahead.pop()
        response = filled.get(path)
        assert response.status_code == 200, path
        if not response.headers["content-type"].startswith("text/html") or path == "/docs":
            continue
        page = Page(response)
        assert len(page.ids) == len(set(page.ids)), (path, "an id stands twice")
        assert response.headers["content-security-policy"].startswith("default-src 'none'")
        for link in (*page.links, *page.loads):
            to, fragment = urldefrag(link)
            if not urlsplit(link).scheme and to and to not in seen:
                seen.add(to)
                ahead.append(to)
            if fragment and not to:
                assert fragment in page.ids, (path, link)
        # What is no link to this service is the address that a vendor gave.
        assert {link for link in page.links if urlsplit(link).scheme} <= {"https://vendor-b.com"}
        assert all(load.startswith("/ui/static/") for load in page.loads)
    kinds = {re.sub(r"[?].*", "", path).split("/")[2] for path in seen if path.startswith("/ui/")}
    assert kinds >= {"vendors", "models", "releases", "profiles", "diff", "support-matrix", "ask"}
    assert any(path.startswith("/ui/support-matrix/reasons") for path in seen)


def test_what_vendors_write_is_text_and_nothing_else(filled: TestClient) -> None:
    for path in ("/", "/?q=vendor", "/ui/vendors/vendor-a.com", f"/ui/models/{NIC}", f"/ui/releases/{FIRMWARE}@1"):
        page = look(filled, path)
        scripts = [told for tag, told in page.tags if tag == "script"]
        assert [bool(each.get("src")) for each in scripts] == [True], path
        assert not any(link.startswith("javascript:") for link in page.links)
    assert SCRIPT in look(filled, f"/ui/releases/{FIRMWARE}@1").text
    assert STRANGE in look(filled, f"/ui/models/{GPU}").text


def test_the_search_finds_by_a_part_of_a_name(filled: TestClient) -> None:
    page = look(filled, "/", q="NUM-Q")
    assert "num-queues of vendor-a.com/my-nic" in page.text
    assert f"/ui/models/{NIC}#num-queues" in page.links
    page = look(filled, "/", q="vendor-a")
    for heading in ("Device models", "Profiles", "Implementations", "Vendors"):
        assert heading in page.text
    assert "vendor-b.com/draft" not in look(filled, "/", q="draft").text
    assert "Nothing has 100%" in look(filled, "/", q="100%").text


def test_what_is_called_so_is_found_first(filled: TestClient) -> None:
    filled.put("/releases/vendor-b.com/x@1", json={"models": {"vendor-b.com/a-my-nic": {"variables": {}}}})
    filled.put(
        "/releases/vendor-b.com/x@2",
        json={"models": {"vendor-b.com/a-my-nic": {"variables": {}}, NIC: {"variables": {}}}},
    )
    found = look(filled, "/", q=NIC.upper()).links
    assert f"/ui/models/{NIC}" in found
    names = [link for link in look(filled, "/", q="my-nic").links if link.startswith("/ui/models/")]
    assert names == ["/ui/models/vendor-a.com/my-nic", "/ui/models/vendor-b.com/a-my-nic"]


def test_a_model_shows_its_releases_side_by_side_with_what_changed(filled: TestClient) -> None:
    page = look(filled, f"/ui/models/{NIC}")
    assert "vendor-a.com/fw 1" in page.text
    assert "vendor-a.com/fw 2" in page.text
    assert "vendor-b.com/dpu 1" in page.text
    assert "num-queues int runtime 1 4 allowed: 1-8 changed 4 allowed: 1-4 4 allowed: 1-8" in page.text
    assert re.search(r"legacy bool \S+ off on removed not there not there", page.text)
    assert re.search(r"new-feature bool \S+ off not there added off not there", page.text)
    assert "With new-feature on: num-queues has to be 2-4 (a queue of its own)" in page.text
    assert "Cannot be migrated with num-queues 3 (odd)" in page.text
    assert "The same in all of them (1)" in page.text
    assert page.text.index("mac str") > page.text.index("The same in all of them")


def test_releases_that_say_the_same_share_a_column_and_earlier_ones_are_a_page_back(filled: TestClient) -> None:
    for number in range(3, 16):
        variables = {
            "num-queues": {"type": "int", "init_value": 1, "allowed_values": ["1-9"]},
            "n": {"type": "int", "init_value": number // 2},
        }
        document = {"models": {"vendor-b.com/card": {"variables": variables}}}
        told = filled.put(f"/releases/vendor-b.com/dpu@{number}", json=document, params={"override": "told"})
        assert told.is_success, told.text
    page = look(filled, "/ui/models/vendor-b.com/card", implementation="vendor-b.com/dpu")
    assert "vendor-b.com/dpu 14 to 15 2 releases" in page.text
    assert "Earlier releases" not in page.text
    for number in range(16, 22):
        document = {"models": {"vendor-b.com/card": {"variables": {"n": {"type": "int", "init_value": number}}}}}
        assert filled.put(f"/releases/vendor-b.com/dpu@{number}", json=document, params={"override": "told"}).is_success
    page = look(filled, "/ui/models/vendor-b.com/card", implementation="vendor-b.com/dpu")
    (earlier,) = [link for link in page.links if "until=" in link]
    assert "vendor-b.com/dpu 10 to 11" not in page.text
    before = look(filled, earlier)
    assert "vendor-b.com/dpu 10 to 11" in before.text
    assert "vendor-b.com/dpu 16" not in before.text


def test_a_profile_says_which_value_comes_from_where(filled: TestClient) -> None:
    page = look(filled, "/ui/profiles/vendor-a.com/more")
    assert "num-queues 8 itself 4" in page.text
    assert "legacy taken out: off itself on" in page.text
    assert f"{STRANGE} fast inherited from vendor-a.com/base" in page.text
    only = look(filled, "/ui/profiles/vendor-a.com/more", model=NIC)
    assert f"{STRANGE} fast" not in only.text


def test_a_profile_of_many_models_shows_the_values_of_one(filled: TestClient) -> None:
    models = {
        f"vendor-b.com/m{number}": {"variables": {"v": {"type": "int", "init_value": number}}} for number in range(9)
    }
    values = {model: {"v": place} for place, model in enumerate(models)}
    profiles = [{"name": "vendor-b.com/all", "values": values}]
    assert filled.put("/releases/vendor-b.com/many@1", json={"models": models, "profiles": profiles}).is_success
    page = look(filled, "/ui/profiles/vendor-b.com/all")
    assert "Values for" not in page.text
    assert "/ui/profiles/vendor-b.com/all?model=vendor-b.com%2Fm7#values" in page.links
    assert "v 7 itself" in look(filled, "/ui/profiles/vendor-b.com/all", model="vendor-b.com/m7").text


def test_a_profile_that_gains_a_model_says_nothing_of_what_inherited_from_it_before(filled: TestClient) -> None:
    models = {
        "vendor-b.com/late": {
            "variables": {"v": {"type": "int", "init_value": 1}, "w": {"type": "int", "init_value": 1, "off_value": 1}}
        }
    }
    assert filled.put("/releases/vendor-b.com/late@1", json={"models": models}).is_success
    for name, document in (
        ("vendor-b.com/parent", {"values": {}}),
        ("vendor-b.com/child", {"extends": "vendor-b.com/parent", "values": {"vendor-b.com/late": {"v": 1}}}),
        ("vendor-b.com/parent", {"values": {"vendor-b.com/late": {"v": 1, "w": 1}}}),
    ):
        assert filled.put(f"/profiles/{name}", json=document).is_success
    page = look(filled, "/ui/profiles/vendor-b.com/child")
    assert "v 1 itself" in page.text
    assert "w 1" not in page.text


def test_a_release_says_what_it_was_published_in_spite_of(filled: TestClient) -> None:
    page = look(filled, f"/ui/releases/{FIRMWARE}@2")
    assert "the firmware lost queues" in page.text
    assert "vendor-a.com/more for vendor-a.com/my-nic" in page.text
    assert "Diff from 1" in page.text
    assert "Diff to 2" in look(filled, f"/ui/releases/{FIRMWARE}@1").text


def test_the_diff_shows_what_closes_a_direction(filled: TestClient) -> None:
    page = look(filled, "/ui/diff", from_=f"{FIRMWARE}@1", to=f"{FIRMWARE}@2")
    told = filled.get("/diff", params={"from": f"{FIRMWARE}@1", "to": f"{FIRMWARE}@2"}).json()["models"]
    for differences in told.values():
        for each in differences:
            assert each["message"] in page.text
    assert "→ forward closed in part" in page.text
    only = look(filled, "/ui/diff", from_=f"{FIRMWARE}@1", to=f"{FIRMWARE}@2", model=GPU)
    assert "num-queues" not in only.text
    same = look(filled, "/ui/diff", from_=f"{FIRMWARE}@1", to=f"{FIRMWARE}@1")
    assert "There is no difference" in same.text
    assert "8 in the second" in look(filled, "/ui/diff", from_="vendor-a.com/base", to="vendor-a.com/more").text


def test_the_support_matrix_is_that_of_the_api_and_its_cells_lead_to_reasons(filled: TestClient) -> None:
    page = look(filled, "/ui/support-matrix")
    matrix = filled.get("/support-matrix").json()
    for line in matrix["rows"]:
        for cell in line["cells"]:
            said = f"{'yes' if cell['compatible'] else 'no'}, {line['profile']} on {cell['release']}:"
            assert said in page.text
    (reasons,) = [link for link in page.links if "profile=vendor-a.com%2Fmore" in link and "%402" in link]
    told = look(filled, reasons).text
    for each in next(line for line in matrix["rows"] if line["profile"] == "vendor-a.com/more")["cells"][1]["problems"]:
        assert each["message"].removeprefix(f"{NIC}: ") in told
    assert "✗ Not supported" in told
    one = look(filled, "/ui/support-matrix", model=GPU, implementation=FIRMWARE)
    assert "vendor-b.com" not in one.text.partition("Profiles 1")[2]


def test_ask_answers_as_the_api_does(filled: TestClient) -> None:
    asked = {
        "model": NIC,
        "source": f"{FIRMWARE}@1",
        "profile": "vendor-a.com/base",
        "value": ["num-queues=6", "legacy=off"],
        "host": "host-2",
    }
    page = look(filled, "/ui/ask", **asked)
    (result,) = filled.get("/compatibility", params={**asked, "detail": "full"}).json()["results"]
    assert "✗ No host-2" in page.text
    (device,) = result["devices"]
    for each in device["problems"]:
        assert f"{each['code']} {each['message']}" in page.text
    assert device["remedies"]
    assert "Remedy: on the running device change num-queues from 6 to" in page.text
    assert f"✗ broken {_rule('value-not-allowed')}" in page.text
    assert "not asked" not in page.text
    yes = look(filled, "/ui/ask", model=NIC, source=f"{FIRMWARE}@1", value="mac=52:54:00:12:34:56")
    assert "Yes, to" in yes.text
    assert "mac 52:54:00:12:34:56" in yes.text


def _rule(code: str) -> str:
    return RULES[ProblemCode(code)]


def test_the_same_question_as_curl_is_the_same_question(filled: TestClient) -> None:
    asked: list[tuple[str, Any]] = [
        ("model", GPU),
        ("source", f"{FIRMWARE}@1"),
        ("value", f"{STRANGE}=slow"),
        ("destination", f"{FIRMWARE}@1"),
        ("policy", "permissive"),
    ]
    response = filled.get("/ui/ask", params=asked)
    page = Page(response)
    command = page.text[page.text.index("curl --get") : page.text.index("detail=full")]
    words = shlex.split(command.replace("\\ --", "--"), posix=True)
    assert [tuple(each.split("=", 1)) for each in words if "=" in each] == asked
    assert "✓ Yes" in page.text


@pytest.mark.parametrize(
    ("typed", "address"),
    [
        ([("model", NIC), ("source", ""), ("value", ""), ("policy", "")], [("model", NIC)]),
        ([("model", NIC), ("value.num-queues", "3")], [("model", NIC), ("value", "num-queues=3")]),
        ([("model", NIC), ("add", "num-queues")], [("model", NIC), ("value", "num-queues=4")]),
        (
            [("model", NIC), ("profile", "vendor-a.com/more"), ("add", "num-queues")],
            [("model", NIC), ("profile", "vendor-a.com/more"), ("value", "num-queues=8")],
        ),
        (
            [("model", NIC), ("value", "num-queues=4"), ("value", "mac=x"), ("remove", "num-queues")],
            [("model", NIC), ("value", "mac=x")],
        ),
        (
            [("model", NIC), ("policy", "strict"), ("destination", f"{FIRMWARE}@1"), ("destination", f"{FIRMWARE}@1")],
            [("model", NIC), ("destination", f"{FIRMWARE}@1")],
        ),
    ],
)
def test_what_forms_send_becomes_an_address_to_share(
    filled: TestClient, typed: list[tuple[str, Any]], address: list[tuple[str, str]]
) -> None:
    response = filled.get("/ui/ask", params=typed, follow_redirects=False)
    assert response.status_code == 303
    where = urlsplit(response.headers["location"])
    assert where.path == "/ui/ask"
    assert parse_qsl(where.query) == address
    assert filled.get(response.headers["location"], follow_redirects=False).status_code == 200


def test_what_is_not_known_is_never_a_yes(filled: TestClient) -> None:
    page = look(filled, "/ui/ask", model=NIC)
    assert "unknown never means compatible" in page.text
    assert "✓ Yes" not in page.text
    unknown = look(filled, "/ui/ask", model=NIC, source="vendor-a.com/none@1", destination=f"{FIRMWARE}@1")
    assert "✗ No" in unknown.text
    assert "unknown-release" in unknown.text
    assert "not asked" in unknown.text


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/ui/none", 404, "There is no page /ui/none"),
        ("/ui/models/vendor-a.com/none", 404, "no model vendor-a.com/none"),
        ("/ui/models/%00", 404, "no model"),
        ("/ui/vendors/none.com", 404, "no vendor none.com"),
        ("/ui/releases/x", 404, "no release x"),
        ("/ui/profiles/vendor-b.com/draft", 404, "no profile vendor-b.com/draft"),
        (f"/ui/profiles/vendor-a.com/base?model={NIC}x", 404, "no model"),
        (f"/ui/models/{NIC}?implementation=vendor-z.com/none", 404, "no implementation"),
        (
            "/ui/diff?from=vendor-a.com/base&to=vendor-a.com/fw@1",
            422,
            "to a release differs from a release only",
        ),
        ("/ui/diff?from=vendor-a.com/base&to=vendor-a.com/none", 404, "no profile vendor-a.com/none"),
        ("/ui/support-matrix/reasons?profile=vendor-a.com/base", 422, "release"),
        ("/ui/support-matrix?model=none.com/x", 404, "no model"),
        ("/ui/ask?model=none.com/x", 404, "no model none.com/x"),
        (f"/ui/ask?model={NIC}&source={FIRMWARE}@1&policy=loose", 422, "policy"),
        (
            f"/ui/ask?model={NIC}&source={FIRMWARE}@1&destination={FIRMWARE}@1&destination={FIRMWARE}@2&row=%00",
            200,
            "Yes",
        ),
        ("/ui/models?limit=0", 422, "limit"),
        ("/?q=%01", 422, "control characters"),
    ],
)
def test_errors_are_pages_that_say_what_is_wrong(filled: TestClient, path: str, status: int, said: str) -> None:
    response = filled.get(path)
    assert response.status_code == status, response.text
    assert response.headers["content-type"].startswith("text/html")
    assert said in Page(response).text
    assert "<h1>" in response.text


def test_pages_are_asked_again_only_when_they_changed(filled: TestClient) -> None:
    first = filled.get(f"/ui/models/{NIC}")
    again = filled.get(f"/ui/models/{NIC}", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304
    (style,) = [each for each in Page(first).loads if each.endswith("style.css")]
    assert "immutable" in filled.get(style).headers["cache-control"]


def test_closed_pages_take_a_token_as_a_password(filled: TestClient, database_url: str) -> None:
    settings = Settings(database_url=database_url, admin_token=SecretStr(TOKEN), read="token")
    reader = filled.post("/tokens", json={"name": "r", "role": "reader"}, headers=AUTHORIZATION).json()["token"]
    with TestClient(service(settings)) as closed:
        for path in ("/", f"/ui/models/{NIC}", "/ui/ask", "/ui/support-matrix", "/ui/diff", "/ui/vendors"):
            refused = closed.get(path)
            assert refused.status_code == 401, path
            assert refused.headers["www-authenticate"].startswith("Basic ")
            assert "num-queues" not in refused.text
            assert closed.get(path, auth=("anybody", reader)).status_code == 200
            assert closed.get(path, auth=("anybody", "wrong")).status_code == 401
            assert closed.get(path, headers={"Authorization": "Basic !"}).status_code == 401
            assert closed.get(path, headers={"Authorization": f"Bearer {reader}"}).status_code == 200
        shown = closed.get("/ui/ask", params={"model": NIC}, auth=("x", reader))
        assert "private" in shown.headers["cache-control"]
        assert "Bearer $TOKEN" in shown.text
        # The API takes no password: what a browser keeps is of no use to other pages' scripts.
        assert closed.get(f"/models/{NIC}", auth=("x", reader)).status_code == 401


def test_a_lost_database_is_a_page_too(filled: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_: object) -> None:
        raise sa.exc.TimeoutError

    monkeypatch.setattr(Databases, "reading", lost)
    response = filled.get("/ui/vendors")
    assert response.status_code == 503
    assert response.headers["retry-after"]
    assert "Try again in a moment" in response.text


def test_behind_a_path_of_a_proxy_every_link_has_it(database_url: str, registry: TestClient) -> None:
    fill(registry)
    with TestClient(service(Settings(database_url=database_url)), root_path="/registry") as proxied:
        for path in ("/", f"/ui/models/{NIC}", f"/ui/ask?model={NIC}&source={FIRMWARE}@1"):
            page = Page(proxied.get(path))
            own = [each for each in (*page.links, *page.loads) if each.startswith("/")]
            assert own
            assert all(each.startswith("/registry/") for each in own), path
        moved = proxied.get("/ui/ask", params={"model": NIC, "source": ""}, follow_redirects=False)
        assert moved.headers["location"].startswith("/registry/ui/ask?")
