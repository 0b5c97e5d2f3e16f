"""What people do with the pages, in a real browser."""

import re
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from fastapi.testclient import TestClient
from playwright.sync_api import Browser, BrowserContext, HttpCredentials, Page, Playwright, expect

from tests.api.serving import served
from tests.conftest import AUTHORIZATION, TOKEN, fresh_database, make_app
from tests.counts import IS_LONG, full
from tests.pages import large
from tests.pages.conftest import CHROMIUM, asked_by_pages, started
from tests.pages.world import FIRMWARE, GPU, NIC, fill

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

PAGES = [
    "/",
    "/?q=num",
    "/?q=nothing-is-called-so",
    "/ui/vendors",
    "/ui/hosts",
    "/ui/hosts?label=rack=r1",
    "/ui/hosts/host-2",
    "/ui/map",
    "/ui/drain",
    "/ui/vendors/vendor-a.com",
    f"/ui/vendors/vendor-a.com?implementation={FIRMWARE}",
    "/ui/publish",
    "/ui/publish?example=nic",
    "/ui/models",
    f"/ui/models/{NIC}",
    f"/ui/models/{NIC}?implementation=all",
    f"/ui/models/{GPU}",
    "/ui/releases",
    f"/ui/releases/{FIRMWARE}@2",
    "/ui/profiles",
    "/ui/profiles/vendor-a.com/more",
    "/ui/diff",
    f"/ui/diff?from={FIRMWARE}@1&to={FIRMWARE}@2",
    f"/ui/diff?from={FIRMWARE}@1&to=vendor-b.com/dpu@1",
    "/ui/diff?from=vendor-a.com/base&to=vendor-a.com/more",
    "/ui/support-matrix",
    "/ui/support-matrix?implementation=all",
    "/ui/support-matrix?profile=vendor-a.com/more",
    f"/ui/support-matrix/reasons?profile=vendor-a.com/more&release={FIRMWARE}@2",
    "/ui/ask",
    f"/ui/ask?model={NIC}",
    f"/ui/ask?model={NIC}&source={FIRMWARE}@1&profile=vendor-a.com/base&value=num-queues=6&value=legacy=off&host=host-2",
    "/?q=queues+nic",
    "/?q=unknown-release",
    "/ui/changes",
    "/ui/changes?hosts=true&since=2020-01-01",
    "/ui/changes?kind=errata",
    "/ui/changes/3",
    "/ui/audit",
    "/ui/tokens",
    "/help",
    "/help?q=off+value",
    "/help/value-not-allowed",
    "/help/unknown-model",
    "/help/unavailable",
    "/help/verdict",
    "/help/terms",
    "/help/guides/publish",
    "/help/guides/production",
    "/models/vendor-a.com/none",
]
CREDENTIALS: HttpCredentials = {"username": "admin", "password": TOKEN}


@pytest.fixture(scope="module")
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield the address of a registry that has something to show."""
    with fresh_database("sqlite", request) as url:
        app = make_app(url)
        with TestClient(make_app(url), headers=AUTHORIZATION) as registry:
            fill(registry)
        with served(app) as address:
            yield address


@pytest.fixture(scope="module")
def large_address(request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield the address of a registry of 500 models with 84,000 variables."""
    with fresh_database("sqlite", request) as url:
        app = make_app(url)
        with TestClient(make_app(url), headers=AUTHORIZATION) as registry:
            assert registry.put(f"/vendors/{large.VENDOR}", json={}).is_success
            for number in (1, 2):
                told = registry.put(
                    f"/releases/{large.EMULATOR}@{number}", json=large.release(number), params={"override": "fewer"}
                )
                assert told.is_success, told.text[:500]
        large.register_hosts(app.state.container.primary)
        with served(app) as address:
            yield address


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """Yield a page; whatever its console says of errors is an error of the test."""
    context = browser.new_context(base_url=address)
    context.set_default_timeout(10_000)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    yield page
    context.close()
    assert said == []


def test_from_a_search_to_a_verdict_by_mouse(page: Page) -> None:
    page.goto("/")
    page.locator("#search").fill("num-q")
    page.locator("header").get_by_role("button", name="Search").click()
    page.get_by_role("link", name="num-queues").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(NIC)
    expect(page.locator("[id='v-num-queues']")).to_be_in_viewport()
    page.get_by_label("Implementation").select_option(FIRMWARE)
    page.get_by_role("button", name="Show").click()
    expect(page.locator("[id='v-num-queues'] .is-changed")).to_contain_text("allowed: 1-4")
    page.goto(f"/ui/releases/{FIRMWARE}@2")
    page.get_by_role("link", name="Diff from 1").click()
    expect(page.get_by_role("region", name=f"Differences of {NIC}")).to_contain_text("allows 1-4, not 1-8")
    page.get_by_role("link", name=NIC, exact=True).click()
    page.get_by_role("link", name="Ask about this device").click()
    page.get_by_label("Release that it runs on").select_option(f"{FIRMWARE}@1")
    page.get_by_label("Profile that it was created with").select_option("vendor-a.com/base")
    page.get_by_label("Variable whose value differs from the default").select_option("num-queues")
    page.get_by_role("button", name="Add").click()
    page.get_by_label("num-queues", exact=True).select_option("8")
    page.get_by_label(f"{FIRMWARE}@2", exact=True).check()
    page.get_by_role("button", name="Ask", exact=True).click()
    verdict = page.locator("#verdict")
    expect(verdict.get_by_role("heading", level=2)).to_have_text("No")
    expect(verdict).to_be_in_viewport()
    expect(verdict).to_contain_text("value-not-allowed")
    verdict.get_by_text("The rules of the verdict").click()
    expect(verdict.locator(".rules .broken").first).to_be_visible()
    asked = page.url
    assert re.search(r"value=num-queues%3D8", asked)
    assert "value=&" not in asked
    # The refusal is mended: fewer queues, and the feature off that the new firmware does not have.
    page.get_by_label("num-queues", exact=True).select_option("4")
    page.get_by_label("Variable whose value differs from the default").select_option("legacy")
    page.get_by_role("button", name="Add").click()
    page.get_by_label("legacy", exact=True).select_option("off")
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(verdict.get_by_role("heading", level=2)).to_have_text("Yes")
    verdict.get_by_text("The configuration to apply at the destination").click()
    expect(verdict.get_by_role("row", name="num-queues 4")).to_be_visible()
    # The address is the question: somebody else sees the same.
    page.goto(asked)
    expect(verdict.get_by_role("heading", level=2)).to_have_text("No")
    page.go_back()
    expect(verdict.get_by_role("heading", level=2)).to_have_text("Yes")


def _tab_to(page: Page, selector: str) -> None:
    """Press Tab until the focus is on the first such element; it is seen there."""
    for _ in range(150):
        page.keyboard.press("Tab")
        if page.evaluate("selector => document.activeElement === document.querySelector(selector)", selector):
            shown = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert shown != "none", f"the focus on {selector} is not seen"
            return
    message = f"no Tab leads to {selector}"
    raise AssertionError(message)


def _choose(page: Page, option: str) -> None:
    """Choose in the list that has the focus by typing what the option begins with."""
    page.keyboard.type(option)
    chosen = page.evaluate("document.activeElement.selectedOptions[0].text")
    assert chosen == option


def test_from_a_search_to_a_verdict_by_keyboard(page: Page) -> None:
    page.goto("/")
    page.keyboard.press("/")
    page.keyboard.type("my-nic")
    page.keyboard.press("Enter")
    page.wait_for_url("**/?q=my-nic")
    _tab_to(page, f"a[href='/ui/models/{NIC}']")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/ui/models/{NIC}")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    _tab_to(page, "#implementation")
    _choose(page, FIRMWARE)
    _tab_to(page, "main form button")
    page.keyboard.press("Enter")
    page.wait_for_url("**implementation=**")
    _tab_to(page, "a[href*='/ui/diff?']")
    page.keyboard.press("Enter")
    page.wait_for_url("**/ui/diff?**")
    page.go_back()
    _tab_to(page, "a.primary")
    page.keyboard.press("Enter")
    page.wait_for_url("**/ui/ask?**")
    _tab_to(page, "#source")
    _choose(page, f"{FIRMWARE}@1")
    _tab_to(page, "#profile")
    _choose(page, "vendor-a.com/base")
    page.keyboard.press("Enter")
    _tab_to(page, f"input[value='{FIRMWARE}@2']")
    page.keyboard.press("Space")
    _tab_to(page, "#ask-button")
    page.keyboard.press("Enter")
    page.wait_for_url("**destination=**")
    expect(page.locator("#verdict h2")).to_have_text("No")
    _tab_to(page, "#verdict summary")
    page.keyboard.press("Enter")
    expect(page.locator("#verdict .rules").first).to_be_visible()


def test_enter_asks_and_loses_nothing(page: Page) -> None:
    page.goto(f"/ui/ask?model={NIC}&source={FIRMWARE}@1&value=num-queues=4&value=mac=")
    page.get_by_label("mac", exact=True).press("Enter")
    page.wait_for_url("**#verdict")
    assert "value=num-queues%3D4&value=mac%3D" in page.url
    page.get_by_label("mac", exact=True).fill("52:54:00:12:34:56")
    page.get_by_label("mac", exact=True).press("Enter")
    page.wait_for_url("**52%3A54**")
    assert "value=num-queues%3D4" in page.url
    page.get_by_role("button", name="Remove num-queues").click()
    page.wait_for_url("**#values")
    assert "num-queues" not in page.url


def test_a_cell_of_the_heat_map_leads_to_its_reasons(page: Page) -> None:
    page.goto(f"/ui/support-matrix?implementation={FIRMWARE}")
    page.get_by_role("row", name="vendor-a.com/more").get_by_role(
        "link", name=f"no, vendor-a.com/more on {FIRMWARE}@2"
    ).click()
    expect(page.get_by_text("✗ Not supported")).to_be_visible()
    expect(page.get_by_role("region", name="Refused models")).to_contain_text("num-queues=8")
    page.get_by_role("link", name=f"Ask about {NIC}").click()
    expect(page.locator("#verdict h2")).to_have_text("No")


# Not to measure, but to share the large registry: it takes long to fill.
@pytest.mark.alone
def test_long_lists_are_narrowed_while_one_types(browser: Browser, large_address: str) -> None:
    context = browser.new_context(base_url=large_address)
    page = context.new_page()
    page.goto(large.PAGES["model"])
    page.get_by_label("Filter variables").fill("ABLE-014")
    expect(page.locator("tbody tr:visible")).to_have_count(1)
    page.goto(large.PAGES["release"])
    page.get_by_label("Filter models").fill("device-49")
    expect(page.locator("#models li:visible")).to_have_count(11)
    # Where a link leads to a variable far below, it is seen.
    page.goto(f"{large.PAGES['model']}#v-variable-166")
    expect(page.locator("[id='v-variable-166']")).to_be_in_viewport()
    context.close()


def test_what_forms_send_does_without_script(browser: Browser, address: str) -> None:
    context = browser.new_context(base_url=address, java_script_enabled=False)
    page = context.new_page()
    page.goto(f"/ui/ask?model={NIC}")
    page.get_by_label("Release that it runs on").select_option(f"{FIRMWARE}@1")
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.locator("#verdict h2")).to_contain_text("Yes, to")
    assert page.url.endswith(
        f"/ui/ask?model={NIC.replace('/', '%2F')}&source={FIRMWARE.replace('/', '%2F')}%401#verdict"
    )
    context.close()


@pytest.mark.parametrize(
    ("width", "scheme", "document"),
    [
        (1280, "light", '{"models": {\n "vendor-a.com/x": {"variables": {"a b": 1}}}, "profiles": 5}'),
        (360, "dark", '{"models": {\n "vendor-a.com/x": {"variables": {"a b": 1}}}, "profiles": 5}'),
        (1280, "dark", f'{{"models": {{"{NIC}": {{"variables": {{}}}}}}, "profiles": []}}'),
        (360, "light", '{"models": {\n "vendor-a.com/x": [1,]}}'),
    ],
)
def test_a_release_is_tried_without_script_and_axe_finds_nothing(
    browser: Browser, address: str, width: int, scheme: str, document: str
) -> None:
    view: dict[str, Any] = {"color_scheme": scheme, "viewport": {"width": width, "height": 800}}
    context = browser.new_context(base_url=address, java_script_enabled=False, **view)
    page = context.new_page()
    page.goto("/ui/publish")
    page.get_by_label("Release:").fill(f"{FIRMWARE}@3")
    page.get_by_label("The release as JSON").fill(document)
    page.get_by_role("button", name="Try").click()
    expect(page.locator("#result h2").first).to_be_visible()
    expect(page.get_by_label("The release as JSON")).to_have_value(document)
    expect(page.get_by_role("button", name="Copy")).to_have_count(0)
    content = page.content()
    context.close()
    # Axe is a script, so it looks at the same page in a context that runs scripts.
    context = browser.new_context(base_url=address, bypass_csp=True, **view)
    page = context.new_page()
    page.route("**/ui/publish", lambda route: route.fulfill(body=content, content_type="text/html; charset=utf-8"))
    page.goto("/ui/publish")
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    violations = Axe().run(page).response["violations"]
    assert [(each["id"], each["nodes"][0]["html"][:200]) for each in violations] == []
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    context.close()


_DOMAIN = """<domain type='kvm'><name>db-1</name><os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>
<devices><hostdev mode='subsystem' type='mdev' model='vfio-pci'/><controller type='scsi' model='virtio-scsi'/></devices>
</domain>"""


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_vms_are_drained_by_pasting_them_and_axe_finds_nothing(
    browser: Browser, address: str, width: int, scheme: str
) -> None:
    view: dict[str, Any] = {"color_scheme": scheme, "viewport": {"width": width, "height": 800}}
    context = browser.new_context(base_url=address, bypass_csp=True, **view)
    page = context.new_page()
    page.goto("/ui/drain")
    page.get_by_label("libvirt domains").fill(_DOMAIN)
    page.get_by_label("Files, together").set_input_files(
        {"name": "b.xml", "mimeType": "text/xml", "buffer": _DOMAIN.replace("db-1", "db-2").encode()}
    )
    page.get_by_role("button", name="Ask", exact=True).click()
    expect(page.get_by_text("2 of 2 VMs can go nowhere")).to_be_visible()
    page.get_by_role("link", name="db-2", exact=True).click()
    expect(page.locator("#vm-2")).to_be_in_viewport()
    expect(page.locator("#vm-2")).to_contain_text("Not checked:")
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    violations = Axe().run(page).response["violations"]
    assert [(each["id"], each["nodes"][0]["html"][:200]) for each in violations] == []
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    context.close()


def test_a_cell_of_the_map_leads_to_its_reasons(page: Page) -> None:
    page.goto("/ui/hosts")
    page.get_by_role("link", name="Map: what can move between these kinds").click()
    page.locator("table.map td a").nth(1).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("What can move between two kinds of hosts")
    expect(page.locator("main")).to_contain_text("devices")
    page.get_by_role("link", name="The other direction").click()
    expect(page.locator("main .verdict")).to_be_visible()


def test_a_release_is_tried_from_a_file(page: Page) -> None:
    page.goto("/ui/publish")
    page.get_by_label("Release:").fill(f"{FIRMWARE}@3")
    content = b'{\n "models": {},\n "profils": []\n}\n'
    page.get_by_label("or a file").set_input_files(
        {"name": "r.json", "mimeType": "application/json", "buffer": content}
    )
    page.get_by_role("button", name="Try").click()
    expect(page.locator("#line-3")).to_contain_text("unknown-field")
    page.get_by_role("link", name="Line 3").click()
    expect(page.locator("#line-3")).to_be_in_viewport()
    expect(page.get_by_label("The release as JSON")).to_have_value(content.decode())


def test_an_admin_creates_and_revokes_a_token(browser: Browser, address: str) -> None:
    context = browser.new_context(base_url=address, http_credentials=CREDENTIALS)
    page = context.new_page()
    page.goto("/ui/tokens")
    page.get_by_label("Name of its user").fill("a pipeline")
    page.get_by_label("Role").select_option("publisher")
    page.get_by_label("Vendor, for a publisher").fill("vendor-a.com")
    page.get_by_role("button", name="Create").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Token created")
    assert page.locator("#secret").inner_text().startswith("dpr_")
    page.get_by_role("link", name="All tokens").click()
    row = page.get_by_role("row", name="a pipeline")
    expect(row).to_contain_text("publisher of vendor-a.com")
    row.get_by_text("Revoke…").click()
    row.get_by_role("button", name="Revoke a pipeline for good").click()
    page.wait_for_url("**/ui/tokens")
    expect(page.get_by_role("row", name="a pipeline")).to_have_count(0)
    context.close()


def test_a_page_of_another_site_creates_no_token(browser: Browser, address: str) -> None:
    # Other sites have no policy like that of these pages.
    context = browser.new_context(http_credentials=CREDENTIALS, bypass_csp=True)
    page = context.new_page()
    # The browser keeps the password from here on.
    page.goto(f"{address}/ui/tokens")
    for site in ("about:blank", address.replace("127.0.0.1", "localhost") + "/ui/none"):
        other = context.new_page()
        other.goto(site)
        other.set_content(
            f"<form method=post action='{address}/ui/tokens'><input name=name value=evil><input name=role value=admin>"
            "<button>Win</button></form>"
        )
        with other.expect_navigation():
            other.get_by_role("button", name="Win").click()
        expect(other.get_by_text("The form was not sent from a page of this registry.")).to_be_visible()
    page.goto(f"{address}/ui/tokens?state=all")
    expect(page.get_by_text("evil")).to_have_count(0)
    context.close()


def test_an_error_of_the_api_leads_a_person_on(browser: Browser, address: str) -> None:
    context = browser.new_context(base_url=address)
    page = context.new_page()
    page.goto("/models/vendor-a.com/none")
    expect(page.get_by_role("heading", level=1)).to_have_text("Not Found")
    page.get_by_role("link", name="unknown-model").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("unknown-model")
    page.get_by_role("link", name="All codes").click()
    page.get_by_label("Words of a code").fill("profile list")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("row", name="profile-not-listed")).to_be_visible()
    context.close()


_VIEWS = [(1280, "light"), (360, "dark"), (360, "light"), (1280, "dark")]


@pytest.mark.long
@pytest.mark.parametrize("view", range(len(_VIEWS)))
def test_axe_finds_nothing_and_no_page_is_wider_than_the_screen(browser: Browser, address: str, view: int) -> None:
    width, scheme = _VIEWS[view]
    pages = [*PAGES, "/ui/none"]
    if not IS_LONG:
        # Each page in one of the views.
        pages = pages[view :: len(_VIEWS)]
    context = browser.new_context(
        base_url=address,
        color_scheme="dark" if scheme == "dark" else "light",
        viewport={"width": width, "height": 800},
        bypass_csp=True,
        http_credentials=CREDENTIALS,
    )
    page = context.new_page()
    found = {}
    for path in pages:
        page.goto(path)
        page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
        violations = Axe().run(page).response["violations"]
        beyond = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        told = [(each["id"], each["nodes"][0]["html"][:200]) for each in violations]
        if told or beyond > 0:
            found[path] = (told, beyond)
    context.close()
    assert found == {}


def test_nothing_is_asked_of_another_host(playwright: Playwright, address: str, tmp_path: Path) -> None:
    net_log = tmp_path / "net.json"
    browser = started(playwright, f"--log-net-log={net_log}")
    context = browser.new_context(base_url=address, http_credentials=CREDENTIALS)
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    for path in [*PAGES, "/docs"]:
        context.new_page().goto(path)
    for page in context.pages:
        page.wait_for_load_state("networkidle")
    browser.close()
    assert len(asked) > len(PAGES)
    assert all(url.startswith((f"{address}/", "data:")) for url in asked), asked
    assert asked_by_pages(net_log) == {address}


def test_the_log_of_the_network_would_tell(playwright: Playwright, address: str, tmp_path: Path) -> None:
    net_log = tmp_path / "net.json"
    browser = started(playwright, f"--log-net-log={net_log}")
    page = browser.new_page(base_url=address, bypass_csp=True)
    page.goto("/")
    page.evaluate("document.body.innerHTML = '<img src=http://elsewhere.invalid/x.png>'")
    page.wait_for_timeout(300)
    browser.close()
    assert "http://elsewhere.invalid" in asked_by_pages(net_log)


_PAINTED = """
new Promise(done => {
  const look = () => {
    const [paint] = performance.getEntriesByName('first-contentful-paint');
    if (paint) done(paint.startTime); else setTimeout(look, 2);
  };
  look();
})
"""
_ROUNDS = full(5, short=2)
_MOST_SERIES = 10


@pytest.mark.alone
@pytest.mark.long
def test_large_pages_are_seen_as_soon_as_an_empty_one(browser: Browser, large_address: str) -> None:
    context = browser.new_context(base_url=large_address)
    slow: dict[str, list[float]] = {name: [] for name in large.PAGES}
    # The machine has other work, too, which adds to what a page takes: what was slow is looked at again.
    for _ in range(_MOST_SERIES):
        looked_at = {"empty": "/ui/none", **{name: large.PAGES[name] for name in slow}}
        rounds = [{name: _painted(context, path) for name, path in looked_at.items()} for _ in range(_ROUNDS)]
        for name, found in list(slow.items()):
            ratios = [
                usual([each[name] for each in rounds]) / usual([each["empty"] for each in rounds])
                for usual in (min, median)
            ]
            found.append(min(ratios))
            if found[-1] < 2:
                del slow[name]
        if not slow:
            break
    context.close()
    assert slow == {}, "times an empty page, in each series"


def _painted(context: BrowserContext, path: str) -> float:
    """Return when a page was painted first, in milliseconds."""
    page = context.new_page()
    page.goto(path, wait_until="commit")
    painted: float = page.evaluate(_PAINTED)
    # What is still being worked out for this page is not to be counted to the next one.
    page.wait_for_load_state("load")
    page.close()
    return painted
