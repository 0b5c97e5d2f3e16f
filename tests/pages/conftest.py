"""Debian's Chromium, without a screen and without connections of its own."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Playwright, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_ALONE = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# What the log of the network calls whatever no page has asked for.
_BY_ITSELF = "not an origin"


# It keeps an event loop running as long as it lives: tests of other files may want one of their own.
@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    """Yield what drives browsers."""
    with sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """Yield a browser."""
    browser = started(playwright)
    yield browser
    browser.close()


def started(playwright: Playwright, *more: str) -> Browser:
    """Return a browser that is started; it has a new profile of its own."""
    return playwright.chromium.launch(executable_path=CHROMIUM, args=[*_ALONE, *more])


def asked_by_pages(net_log: Path) -> set[str]:
    """Return the hosts that pages have asked something of, by the browser's own log of the network.

    What the browser asks by itself, for updates and the like, has no page as its initiator.
    """
    log = json.loads(net_log.read_text())
    begins = log["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    told = [each["params"] for each in log["events"] if each["type"] == begins and "params" in each]
    urls = [each["url"] for each in told if each.get("initiator", _BY_ITSELF) != _BY_ITSELF]
    return {"/".join(url.split("/")[:3]) for url in urls}
