"""The documentation of the API in a real browser: accessible, short, quiet, and asking nothing of another host."""

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from fastapi.testclient import TestClient
from playwright.sync_api import Browser, BrowserContext, Page, expect

from app.main import service
from app.settings import Settings
from tests.api.serving import served
from tests.conftest import AUTHORIZATION, fresh_database, make_app
from tests.counts import IS_LONG
from tests.pages.conftest import CHROMIUM
from tests.pages.world import fill

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

_VIEWS = [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]
# What the reader of a collapsed page scrolls through at 1280 pixels, of a screen of 800 pixels.
_MAX_HEIGHT = 2_400


@pytest.fixture(scope="module")
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield the address of a registry that has something to answer."""
    with fresh_database("sqlite", request) as url:
        with TestClient(make_app(url), headers=AUTHORIZATION) as registry:
            fill(registry)
        with served(make_app(url)) as address:
            yield address


def _opened(context: BrowserContext, path: str = "/docs") -> Page:
    page = context.new_page()
    page.goto(path)
    expect(page.locator(".opblock-tag").first).to_be_visible()
    return page


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """Yield the page; whatever its console says, and every request to another host, is an error of the test."""
    context = browser.new_context(base_url=address)
    context.set_default_timeout(10_000)
    written: list[str] = []
    context.on("console", lambda message: written.append(message.text))
    context.on("weberror", lambda error: written.append(str(error.error)))
    requested: list[str] = []
    context.on("request", lambda request: requested.append(request.url))
    yield _opened(context)
    context.close()
    assert written == []
    assert [url for url in requested if not url.startswith((f"{address}/", "data:"))] == []


def _operation(page: Page, name: str) -> None:
    """Open an operation, and send its example."""
    operation = page.locator(f"#operations-{name}")
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Try it out").click()
    operation.get_by_role("button", name="Execute").click()
    expect(operation.locator(".live-responses-table")).to_be_visible()


@needs_chromium
@pytest.mark.long
@pytest.mark.parametrize(("width", "scheme"), _VIEWS)
def test_axe_finds_nothing_and_the_page_is_no_wider_than_the_screen(
    browser: Browser, address: str, width: int, scheme: str
) -> None:
    context = browser.new_context(
        base_url=address,
        color_scheme="dark" if scheme == "dark" else "light",
        viewport={"width": width, "height": 800},
        # axe itself is a script within the page.
        bypass_csp=True,
    )
    page = _opened(context)
    found = {}

    def check(step: str, *, is_long: bool = False) -> None:
        if is_long and not IS_LONG:
            # The last step shows all of it.
            return
        page.evaluate("new Promise(requestAnimationFrame)")
        violations = Axe().run(page).response["violations"]
        beyond = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        if violations or beyond > 0:
            found[step] = [(entry["id"], entry["nodes"][0]["html"][:200]) for entry in violations], beyond

    check("collapsed")
    for tag in page.locator(".opblock-tag").all():
        tag.click()
    check("every group open", is_long=True)
    for name in ("compatibility-post_compatibility", "releases-get_release", "hosts-forget_host"):
        _operation(page, name)
    page.locator("#operations-releases-put_release .opblock-summary-control").click()
    expect(page.locator("#operations-releases-put_release .responses-table")).to_be_visible()
    check("operations tried out", is_long=True)
    page.get_by_role("button", name="Authorize").first.click()
    expect(page.get_by_role("heading", name="Available authorizations")).to_be_visible()
    check("the dialog for a token")
    context.close()
    assert found == {}


@needs_chromium
def test_the_page_is_short_until_something_is_opened(page: Page) -> None:
    page.set_viewport_size({"width": 1280, "height": 800})
    assert page.locator(".opblock").count() == 0
    assert page.evaluate("document.documentElement.scrollHeight") < _MAX_HEIGHT
    page.locator("#operations-tag-compatibility").click()
    expect(page.locator(".opblock")).to_have_count(2)


@needs_chromium
def test_operations_are_filtered_by_tag_method_path_and_summary(page: Page) -> None:
    page.get_by_label("Filter operations").fill("put /rel")
    expect(page.locator(".opblock-tag")).to_have_count(1)
    expect(page.locator(".opblock-summary-path")).to_have_text(["/releases/{release}"])
    page.get_by_label("Filter operations").fill("no such operation")
    expect(page.locator(".opblock-tag")).to_have_count(0)
    page.get_by_label("Filter operations").fill("")
    expect(page.locator(".opblock-tag").nth(1)).to_be_visible()
    expect(page.locator(".opblock")).to_have_count(0)


@needs_chromium
def test_an_address_names_an_operation(page: Page) -> None:
    page.goto("/docs#/variable sets/post_variable_set")
    page.reload()
    expect(page.locator("#operations-variable_sets-post_variable_set .opblock-body")).to_be_visible()
    expect(page.locator(".opblock.is-open")).to_have_count(1)


@needs_chromium
def test_an_operation_is_tried_out_without_a_word_in_the_console(page: Page) -> None:
    page.locator("#operations-tag-vendors").click()
    _operation(page, "vendors-list_vendors")
    expect(page.locator(".live-responses-table")).to_contain_text("vendor-a.com")


@needs_chromium
def test_the_page_leads_back_to_the_pages(page: Page) -> None:
    page.get_by_role("link", name="Models", exact=True).click()
    page.wait_for_url("**/ui/models")


def test_the_policy_allows_only_what_the_page_loads(registry: TestClient) -> None:
    policy = registry.get("/docs").headers["content-security-policy"]
    assert "unsafe" not in policy
    directives = dict(directive.strip().split(" ", 1) for directive in policy.split(";"))
    assert directives == {
        "default-src": "'none'",
        "style-src": "'self'",
        "script-src": "'self'",
        "img-src": "'self' data:",
        "connect-src": "'self'",
        "form-action": "'self'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
    }


def test_the_page_is_right_below_a_root_path(database_url: str) -> None:
    with TestClient(service(Settings(database_url=database_url)), root_path="/registry") as proxied:
        text = proxied.get("/registry/docs").text
        for path in ("openapi.json", "docs-ui/swagger-ui-bundle.js", "docs-ui/swagger-ui.css"):
            assert f'"/registry/{path}"' in text
            assert proxied.get(f"/registry/{path}").status_code == 200
