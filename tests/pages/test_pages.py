"""What the pages say, over HTTP."""

import re
import shlex
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qsl, unquote, urldefrag, urlsplit

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from httpx2 import Response
from pydantic import SecretStr

from app.domain.verdict.problem import RULES, ProblemCode
from app.main import service
from app.settings import Settings
from app.storage import schema
from app.storage.replica import Databases
from tests import postgresql
from tests.conftest import AUTHORIZATION, TOKEN, copied_database, fresh_database, make_app, shared_registry
from tests.pages.world import FIRMWARE, GPU, NIC, SCRIPT, STRANGE, fill

_MOST_VISITED = 1_000


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


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def template(request: pytest.FixtureRequest) -> Iterator[str | postgresql.Databases]:
    """Yield a database that has something to show, to be copied."""
    with fresh_database(request.param, request) as url:
        with TestClient(make_app(url), headers=AUTHORIZATION) as registry:
            fill(registry)
        if request.param == "sqlite":
            yield url
        else:
            databases = postgresql.Databases(sa.make_url(url))
            yield databases
            databases.drop()


@pytest.fixture
def filled_url(template: str | postgresql.Databases, request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield the URL of a copy of that database."""
    with copied_database(template, request) if isinstance(template, str) else template.lent() as url:
        yield url


@pytest.fixture
def filled(filled_url: str) -> Iterator[TestClient]:
    """Yield a registry that has something to show."""
    with TestClient(make_app(filled_url), headers=AUTHORIZATION) as registry:
        yield registry


unchanged = shared_registry(fill)


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


def test_every_link_of_every_page_leads_somewhere(unchanged: TestClient) -> None:
    ahead, seen = ["/"], {"/"}
    fragments: dict[str, set[str]] = {}
    ids: dict[str, set[str]] = {}
    while ahead and len(seen) < _MOST_VISITED:
        path = ahead.pop()
        response = unchanged.get(path)
        assert response.status_code == 200, path
        if not response.headers["content-type"].startswith("text/html") or path == "/docs":
            continue
        page = Page(response)
        assert len(page.ids) == len(set(page.ids)), (path, "an id stands twice")
        ids[path] = set(page.ids)
        assert response.headers["content-security-policy"].startswith("default-src 'none'")
        for link in (*page.links, *page.loads):
            to, fragment = urldefrag(link)
            if not urlsplit(link).scheme and to and to not in seen:
                seen.add(to)
                ahead.append(to)
            if fragment:
                fragments.setdefault(to or path, set()).add(unquote(fragment))
        # What is no link to this service is the address that a vendor gave. Guides cite standards.
        if not path.startswith("/help/guides/"):
            assert {link for link in page.links if urlsplit(link).scheme} <= {"https://vendor-b.com"}
        assert all(load.startswith("/ui/static/") for load in page.loads)
    assert {(path, each) for path, wanted in fragments.items() for each in wanted - ids.get(path, wanted)} == set()
    kinds = {re.sub(r"[?].*", "", path).split("/")[2] for path in seen if path.startswith("/ui/")}
    assert kinds >= {"vendors", "models", "releases", "profiles", "diff", "support-matrix", "ask"}
    assert any(path.startswith("/ui/support-matrix/reasons") for path in seen)


def test_what_vendors_write_is_text_and_nothing_else(unchanged: TestClient) -> None:
    for path in ("/", "/?q=vendor", "/ui/vendors/vendor-a.com", f"/ui/models/{NIC}", f"/ui/releases/{FIRMWARE}@1"):
        page = look(unchanged, path)
        scripts = [told for tag, told in page.tags if tag == "script"]
        assert [bool(each.get("src")) for each in scripts] == [True], path
        assert not any(link.startswith("javascript:") for link in page.links)
    assert SCRIPT in look(unchanged, f"/ui/releases/{FIRMWARE}@1").text
    assert STRANGE in look(unchanged, f"/ui/models/{GPU}").text


def test_the_search_finds_by_a_part_of_a_name(unchanged: TestClient) -> None:
    page = look(unchanged, "/", q="NUM-Q")
    assert "num-queues of vendor-a.com/my-nic" in page.text
    assert f"/ui/models/{NIC}#v-num-queues" in page.links
    page = look(unchanged, "/", q="vendor-a")
    for heading in ("Device models", "Profiles", "Implementations", "Vendors"):
        assert heading in page.text
    assert "vendor-b.com/draft" not in look(unchanged, "/", q="draft").text
    assert "release has 100%" in look(unchanged, "/", q="100%").text


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


def test_a_model_shows_its_releases_side_by_side_with_what_changed(unchanged: TestClient) -> None:
    page = look(unchanged, f"/ui/models/{NIC}", implementation="all")
    assert re.search("vendor-b.com/ dpu 1 .* vendor-a.com/ fw 2 .* vendor-a.com/ fw 1", page.text)
    assert "num-queues int runtime 1 4 allowed: 1-8 changed 4 allowed: 1-4 4 allowed: 1-8" in page.text
    assert re.search(r"legacy bool \S+ off not available removed not available on", page.text)
    assert re.search(r"new-feature bool \S+ off not available added off not available", page.text)
    assert "With new-feature on: num-queues must be 2-4 (a queue of its own)" in page.text
    assert "Cannot be migrated with num-queues 3 (odd)" in page.text
    assert "The same in all releases shown (1)" in page.text
    assert page.text.index("mac str") > page.text.index("The same in all releases shown")


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
    page = look(filled, "/ui/models/vendor-b.com/card")
    (earlier,) = [link for link in page.links if "until=" in link]
    assert "vendor-b.com/dpu 10 to 11" not in page.text
    before = look(filled, earlier)
    assert "vendor-b.com/dpu 10 to 11" in before.text
    assert "vendor-b.com/dpu 16" not in before.text
    (later,) = [link for link in before.links if "until=21" in link]
    assert "vendor-b.com/dpu 21" in look(filled, later).text


def test_a_profile_says_which_value_comes_from_where(unchanged: TestClient) -> None:
    page = look(unchanged, "/ui/profiles/vendor-a.com/more")
    assert "num-queues 8 this profile 4" in page.text
    assert "legacy off (taken out) this profile on" in page.text
    assert f"{STRANGE} fast vendor-a.com/base" in page.text
    only = look(unchanged, "/ui/profiles/vendor-a.com/more", model=NIC)
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
    assert "v 7 this profile" in look(filled, "/ui/profiles/vendor-b.com/all", model="vendor-b.com/m7").text


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
    assert "v 1 this profile" in page.text
    assert "w 1" not in page.text


def test_a_release_says_what_it_was_published_in_spite_of(unchanged: TestClient) -> None:
    page = look(unchanged, f"/ui/releases/{FIRMWARE}@2")
    assert "the firmware lost queues" in page.text
    assert "vendor-a.com/more for vendor-a.com/my-nic" in page.text
    assert "Diff from 1" in page.text
    assert "Diff to 2" in look(unchanged, f"/ui/releases/{FIRMWARE}@1").text


def test_the_diff_shows_what_closes_a_direction(unchanged: TestClient) -> None:
    page = look(unchanged, "/ui/diff", from_=f"{FIRMWARE}@1", to=f"{FIRMWARE}@2")
    told = unchanged.get("/diff", params={"from": f"{FIRMWARE}@1", "to": f"{FIRMWARE}@2"}).json()["models"]
    for differences in told.values():
        for each in differences:
            assert each["message"] in page.text
    assert "→ forward closed in part" in page.text
    only = look(unchanged, "/ui/diff", from_=f"{FIRMWARE}@1", to=f"{FIRMWARE}@2", model=GPU)
    assert "num-queues" not in only.text
    same = look(unchanged, "/ui/diff", from_=f"{FIRMWARE}@1", to=f"{FIRMWARE}@1")
    assert "There is no difference" in same.text
    assert "8 in the second" in look(unchanged, "/ui/diff", from_="vendor-a.com/base", to="vendor-a.com/more").text


def test_the_support_matrix_is_that_of_the_api_and_its_cells_lead_to_reasons(unchanged: TestClient) -> None:
    page = look(unchanged, "/ui/support-matrix", implementation="all")
    matrix = unchanged.get("/support-matrix").json()
    for line in matrix["rows"]:
        for cell in line["cells"]:
            said = f"{'yes' if cell['compatible'] else 'no'}, {line['profile']} on {cell['release']}:"
            assert said in page.text
    (reasons,) = [link for link in page.links if "profile=vendor-a.com%2Fmore" in link and "%402" in link]
    told = look(unchanged, reasons).text
    for each in next(line for line in matrix["rows"] if line["profile"] == "vendor-a.com/more")["cells"][1]["problems"]:
        assert each["message"].removeprefix(f"{NIC}: ") in told
    assert "✗ Not supported" in told
    one = look(unchanged, "/ui/support-matrix", model=NIC, implementation=FIRMWARE)
    assert "releases 1 to 2 of 2" in one.text
    assert "vendor-b.com/dpu@1" not in one.text


def test_a_cell_looks_as_the_verdict_is(filled: TestClient) -> None:
    _publish_heat(filled)
    page = look(filled, "/ui/support-matrix", implementation="vendor-b.com/heat")
    cells = [told for tag, told in page.tags if tag == "td"]
    looks = [str(each["class"]).removeprefix("heat ") for each in cells]
    # What speaks of none of its models is left out.
    names = ["vendor-b.com/mostly", "vendor-b.com/whole"]
    assert [name for name in re.findall(r"no, (\S+) on|yes, (\S+) on", page.text) if name]
    by_profile = dict(zip(names, zip(looks[::2], looks[1::2], strict=True), strict=True))
    # The newest release first: it lists one profile alone, and takes few values of the other.
    assert by_profile["vendor-b.com/whole"] == ("all", "some")
    assert by_profile["vendor-b.com/mostly"] == ("unlisted", "no-little")
    everything = look(filled, "/ui/support-matrix", implementation="all")
    assert {str(told["class"]) for tag, told in everything.tags if tag == "td"} >= {"heat all", "heat none"}


def _publish_heat(registry: TestClient) -> None:
    """Publish a release that says nothing about profiles, then one that lists one of them."""

    def models(count: int, least: int) -> Any:
        variables = {"v": {"type": "int", "init_value": 1, "allowed_values": ["1-9"]}}
        narrow = {"v": {"type": "int", "init_value": 1, "allowed_values": ["1-4"]}}
        return {
            f"vendor-b.com/h{number}": {"variables": narrow if number < least else variables} for number in range(count)
        }

    told = {"override": "told"}
    first = registry.put("/releases/vendor-b.com/heat@1", json={"models": models(4, 1)}, params=told)
    assert first.is_success, first.text
    values = {f"vendor-b.com/h{number}": {"v": 1} for number in range(5)}
    second = registry.put(
        "/releases/vendor-b.com/heat@2",
        json={"models": models(5, 3), "profiles": [{"name": "vendor-b.com/whole", "values": values}]},
        params=told,
    )
    assert second.is_success, second.text
    wide = registry.put("/releases/vendor-b.com/wide@1", json={"models": models(4, 0)})
    assert wide.is_success, wide.text
    mostly = {f"vendor-b.com/h{number}": {"v": 7} for number in range(4)}
    assert registry.put("/profiles/vendor-b.com/mostly", json={"values": mostly}).is_success


def test_reasons_are_never_without_one(filled: TestClient) -> None:
    _publish_heat(filled)
    matrix = filled.get("/support-matrix").json()
    for line in matrix["rows"]:
        for cell in line["cells"]:
            told = look(filled, "/ui/support-matrix/reasons", profile=line["profile"], release=cell["release"]).text
            assert ("✓ Supported" in told) is cell["compatible"]
            for problem in cell["problems"]:
                of, _, message = problem["message"].partition(": ")
                is_of_model = of.startswith(("vendor-a.com/", "vendor-b.com/h"))
                assert (message if is_of_model and message else problem["message"]) in told


def test_ask_answers_as_the_api_does(unchanged: TestClient) -> None:
    asked = {
        "model": NIC,
        "source": f"{FIRMWARE}@1",
        "profile": "vendor-a.com/base",
        "value": ["num-queues=6", "legacy=off"],
        "host": "host-2",
    }
    page = look(unchanged, "/ui/ask", **asked)
    (result,) = unchanged.get("/compatibility", params={**asked, "detail": "full"}).json()["results"]
    assert "✗ No host-2" in page.text
    (device,) = result["devices"]
    for each in device["problems"]:
        assert f"{each['code']} {each['message']}" in page.text
    assert device["remedies"]
    assert "Remedy: on the running device change num-queues from 6 to" in page.text
    assert f"✗ broken {_rule('value-not-allowed')}" in page.text
    # Nobody states a saved state.
    assert re.findall(r"not applicable [^✓✗]*? ([a-z]+(?:-[a-z]+)+)(?= |$)", page.text) == [
        "state-not-readable",
        "not-together",
    ]
    yes = look(unchanged, "/ui/ask", model=NIC, source=f"{FIRMWARE}@1", value="mac=52:54:00:12:34:56")
    assert "Yes, to" in yes.text
    assert "mac 52:54:00:12:34:56" in yes.text


def _rule(code: str) -> str:
    return RULES[ProblemCode(code)].sentence


def test_the_same_question_as_curl_is_the_same_question(unchanged: TestClient) -> None:
    asked: list[tuple[str, Any]] = [
        ("model", GPU),
        ("source", f"{FIRMWARE}@1"),
        ("value", f"{STRANGE}=slow"),
        ("destination", f"{FIRMWARE}@1"),
        ("policy", "permissive"),
    ]
    response = unchanged.get("/ui/ask", params=asked)
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
    unchanged: TestClient, typed: list[tuple[str, Any]], address: list[tuple[str, str]]
) -> None:
    response = unchanged.get("/ui/ask", params=typed, follow_redirects=False)
    assert response.status_code == 303
    where = urlsplit(response.headers["location"])
    assert where.path == "/ui/ask"
    assert parse_qsl(where.query) == address
    assert unchanged.get(response.headers["location"], follow_redirects=False).status_code == 200


def test_what_is_not_known_is_never_a_yes(unchanged: TestClient) -> None:
    page = look(unchanged, "/ui/ask", model=NIC)
    assert "unknown never means compatible" in page.text
    assert "✓ Yes" not in page.text
    unknown = look(unchanged, "/ui/ask", model=NIC, source="vendor-a.com/none@1", destination=f"{FIRMWARE}@1")
    assert "✗ No" in unknown.text
    assert "unknown-release" in unknown.text
    assert "not applicable" in unknown.text


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/ui/none", 404, "There is no page /ui/none"),
        ("/ui/models/vendor-a.com/none", 404, "no model vendor-a.com/none"),
        *((f"/ui/{kind}/%00", 404, "no ") for kind in ("vendors", "models", "releases", "profiles")),
        ("/ui/vendors/%00a", 404, "no vendor"),
        (f"/ui/diff?from={FIRMWARE}@1&to={FIRMWARE}@2&model=none.com/x", 404, "no model none.com/x"),
        (
            f"/ui/support-matrix/reasons?profile=vendor-a.com/base&release={FIRMWARE}@1&model=none.com/x",
            404,
            "no model",
        ),
        ("/ui/releases?state=draft", 422, "state"),
        (f"/ui/ask?model={NIC}&value=num-queues", 422, "name=value"),
        (f"/ui/models/{NIC}?implementation={FIRMWARE}&until=0", 200, "There are no earlier releases"),
        ("/ui/support-matrix?row=5000", 200, "There are no more rows or columns"),
        ("/ui/vendors/none.com", 404, "no vendor none.com"),
        ("/ui/releases/x", 404, "no release x"),
        ("/ui/profiles/vendor-b.com/draft", 404, "no profile vendor-b.com/draft"),
        (f"/ui/profiles/vendor-a.com/base?model={NIC}x", 404, "no model"),
        (f"/ui/models/{NIC}?implementation=vendor-z.com/none", 404, "no implementation"),
        (
            "/ui/diff?from=vendor-a.com/base&to=vendor-a.com/fw@1",
            422,
            "to must be of the same kind as from",
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
def test_errors_are_pages_that_say_what_is_wrong(unchanged: TestClient, path: str, status: int, said: str) -> None:
    response = unchanged.get(path)
    assert response.status_code == status, response.text
    assert response.headers["content-type"].startswith("text/html")
    assert said in Page(response).text
    assert "<h1>" in response.text


def test_pages_are_asked_again_only_when_they_changed(unchanged: TestClient) -> None:
    first = unchanged.get(f"/ui/models/{NIC}")
    again = unchanged.get(f"/ui/models/{NIC}", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304
    (style,) = [each for each in Page(first).loads if each.endswith("style.css")]
    assert "immutable" in unchanged.get(style).headers["cache-control"]


def test_closed_pages_take_a_token_as_a_password(filled: TestClient, filled_url: str) -> None:
    settings = Settings(database_url=filled_url, admin_token=SecretStr(TOKEN), read="token")
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
        for path in ("/ui/support-matrix", f"/ui/diff?from={FIRMWARE}@1&to={FIRMWARE}@2"):
            streamed = closed.get(path, auth=("x", reader))
            assert streamed.headers["cache-control"] == "private, no-cache"
            assert "Authorization" in streamed.headers["vary"]
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


def test_hosts_that_run_the_same_are_answered_together_and_yes_comes_first(filled: TestClient) -> None:
    for number in range(120):
        release = f"{FIRMWARE}@{1 if number == 119 else 2}"
        document = {"releases": [release], "labels": {"fleet": "large"}}
        assert filled.put(f"/hosts/many-{number:03}", json=document).is_success
    page = look(filled, "/ui/ask", model=NIC, source=f"{FIRMWARE}@1", value="num-queues=8", label="fleet=large")
    assert "Yes, to 1 of 120" in page.text
    assert page.text.index("✓ Yes many-119") < page.text.index("✗ No many-000, many-001, many-002 and 116 more")
    assert "not all are shown" in look(filled, "/ui/ask", model=NIC).text


def test_what_a_variable_is_made_with_is_what_the_api_says(filled: TestClient) -> None:
    # Two vendors differ in the off value of what the model's own vendor does not have.
    for name, off in (("vendor-a.com/x", 7), ("vendor-b.com/y", 3)):
        extra = {"extra": {"type": "int", "init_value": 9, "off_value": off, "allowed_values": [3, 7, 9]}}
        document = {"models": {"virtio.example/net": {"variables": extra}}}
        if name.startswith("vendor-a"):
            assert filled.put("/vendors/virtio.example", json={}).is_success
            base = {
                "models": {
                    "virtio.example/net": {"variables": {"mac": {"type": "str", "init_value": "", "scope": "instance"}}}
                }
            }
            assert filled.put("/releases/virtio.example/spec@1", json=base).is_success
        assert filled.put(f"/releases/{name}@1", json=document).is_success
    assert filled.put("/profiles/vendor-b.com/q", json={"values": {"virtio.example/net": {}}}).is_success
    asked = {"model": "virtio.example/net", "source": "vendor-b.com/y@1", "profile": "vendor-b.com/q"}
    (result,) = filled.get(
        "/compatibility", params={**asked, "destination": "vendor-b.com/y@1", "detail": "full"}
    ).json()["results"]
    assert result["devices"][0]["configuration"] == {"extra": 3}
    added = look(filled, "/ui/ask", **asked, add="extra")
    assert "✕ default: 3" in added.text
    assert "extra=3" in added.text
    # What a profile does not name is off, also where nothing is said of a release.
    unsaid = look(filled, "/ui/ask", model=NIC, profile="vendor-a.com/base", add="new-feature")
    assert "✕ default: off" in unsaid.text
    assert "value=new-feature=off" in unsaid.text
    mac = look(filled, "/ui/ask", model="virtio.example/net", source="virtio.example/spec@1", add="mac")
    assert "mac=" in mac.text
    assert "✕ default" not in mac.text


def test_rules_that_the_question_has_nothing_for_are_not_met(unchanged: TestClient) -> None:
    asked: dict[str, Any] = {"model": NIC, "destination": f"{FIRMWARE}@1"}
    for more, not_asked in (
        (
            {"source": f"{FIRMWARE}@1"},
            {
                "unknown-host",
                "unknown-profile",
                "profile-not-for-model",
                "profile-retired",
                "profile-not-listed",
                "state-not-readable",
            },
        ),
        (
            {"profile": "vendor-a.com/base"},
            {"unknown-host", "unknown-variable", "source-value-invalid", "state-not-readable"},
        ),
        (
            {"source": f"{FIRMWARE}@1", "profile": "vendor-a.com/base", "policy": "permissive"},
            {"unknown-host", "profile-not-listed", "state-not-readable"},
        ),
        (
            {"source": f"{FIRMWARE}@1", "profile": "vendor-a.com/base", "host": "host-1", "destination": ()},
            {"state-not-readable"},
        ),
    ):
        page = look(unchanged, "/ui/ask", **{**asked, **more})
        told = re.findall(r"not applicable [^✓✗]*? ([a-z]+(?:-[a-z]+)+)(?= |$)", page.text)
        # The page asks about one device, so that no rule across a VM applies.
        assert set(told) == {*not_asked, "not-together"}, more
    stranger = look(unchanged, "/ui/ask", **asked, source="vendor-b.com/none@1", value="num-queues=99").text
    assert re.search(r"not applicable [^✓✗]*source-value-invalid", stranger)
    gpu = look(unchanged, "/ui/ask", model=GPU, source=f"{FIRMWARE}@1", destination="vendor-b.com/dpu@1").text
    assert re.search(r"not applicable [^✓✗]*variable-not-supported", gpu)


def test_a_model_that_is_gone_says_so(filled: TestClient) -> None:
    document: dict[str, Any] = {"models": {NIC: {"variables": {}}}}
    assert filled.put(f"/releases/{FIRMWARE}@3", json=document, params={"override": "gone"}).is_success
    assert f"Removed: {FIRMWARE}@3" in look(filled, f"/ui/models/{GPU}").text
    assert "Removed:" not in look(filled, f"/ui/models/{NIC}").text


def test_implementations_that_are_not_shown_are_counted(filled: TestClient) -> None:
    for number in range(12):
        document: dict[str, Any] = {"models": {NIC: {"variables": {f"own-{number}": {"type": "int", "init_value": 1}}}}}
        assert filled.put(f"/releases/vendor-b.com/i{number:02}@1", json=document).is_success
    page = look(filled, f"/ui/models/{NIC}", implementation="all")
    assert "8 of 15 columns, the newest of each implementation" in page.text
    assert "own-0 int" in look(filled, f"/ui/models/{NIC}", implementation="vendor-b.com/i00").text


def test_the_next_page_is_of_the_same_list(unchanged: TestClient) -> None:
    page = look(unchanged, "/ui/releases", state="published", limit=1, implementation=FIRMWARE)
    assert f"{FIRMWARE}@2" in page.text
    (following,) = [link for link in page.links if "cursor=" in link]
    assert {"limit": "1", "state": "published", "implementation": FIRMWARE}.items() <= dict(
        parse_qsl(urlsplit(following).query)
    ).items()
    assert f"{FIRMWARE}@1" in look(unchanged, following).text
    assert "vendor-b.com/draft" not in look(unchanged, "/ui/profiles").text


def test_every_page_can_be_asked_for_its_head_alone(unchanged: TestClient) -> None:
    for path in ("/", f"/ui/models/{NIC}", "/ui/support-matrix"):
        assert unchanged.head(path).status_code == 200
    assert unchanged.get("/ui", follow_redirects=False).headers["location"] == "/"


def test_an_off_value_that_is_repeated_is_no_difference(filled: TestClient) -> None:
    for version, off in (("1", {"off_value": 0}), ("2", {})):
        variables = {"n": {"type": "int", "init_value": 1, **off}, "m": {"type": "int", "init_value": int(version)}}
        answer = filled.put(
            f"/releases/vendor-b.com/own@{version}", json={"models": {"vendor-b.com/own-nic": {"variables": variables}}}
        )
        assert answer.is_success, answer.text
    page = look(filled, "/ui/models/vendor-b.com/own-nic")
    assert "The same in all releases shown (1)" in page.text
    assert page.text.index("n int 0") > page.text.index("The same in all releases shown")


def test_a_refusal_says_what_helps(unchanged: TestClient) -> None:
    page = look(unchanged, "/ui/ask", model=NIC, source="vendor-a.com/fw@1", destination="vendor-a.com/none@1")
    assert (
        "What helps unknown-release Publish the release, or correct the releases that the host is registered with."
        in page.text
    )


def test_a_release_is_found_by_its_version(unchanged: TestClient) -> None:
    def releases(q: str) -> list[str]:
        return [link for link in look(unchanged, "/", q=q).links if link.startswith("/ui/releases/")]

    assert releases("fw@2") == ["/ui/releases/vendor-a.com/fw@2"]
    assert releases("VENDOR-A.com/fw@1") == ["/ui/releases/vendor-a.com/fw@1"]
    # The implementation leads to them all.
    assert releases("fw") == []


def test_hosts_are_shown_with_their_last_report(filled: TestClient) -> None:
    def shown(**parameters: str) -> str:
        response = filled.get("/ui/hosts", params=parameters)
        assert response.status_code == 200
        return response.text

    assert "host-1" in shown()
    assert "host-2" in shown(label="rack=r1")
    assert "No host is registered with rack=none" in shown(label="rack=none")
    assert filled.get("/ui/hosts", params={"label": "=x"}).status_code == 422
    assert "badge stale" not in shown()
    shared = filled.app.state.container  # type: ignore[attr-defined]
    with shared.primary.begin() as connection:
        connection.execute(sa.update(schema.host).values(reported_at="2026-01-01T00:00:00.000Z"))
    # Which hosts are stale is read again after a second.
    shared.catalog._stale_until = float("-inf")
    shared.catalog.outdate()
    assert "badge stale" in shown()
    shared.catalog._stale_until = float("-inf")
    shared.catalog.outdate()
    asked = {"model": NIC, "source": f"{FIRMWARE}@1", "host": "host-1"}
    page = filled.get("/ui/ask", params=asked).text
    assert "host-1</span>: This host has not reported for a long time" in page
