"""The pictures of the documentation, made of the pages of the sample as they are today.

Run `python -m tests.pages.pictures` to make them again. The test compares what a picture shows, and how it looks.
"""

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from app.cli.client import Registry
from app.cli.demonstration import publish_sample
from app.settings import ClientSettings
from app.storage import database
from tests.api.serving import served
from tests.conftest import TOKEN, make_app

FOLDER = Path(__file__).parents[2] / "docs" / "pages" / "images"
# What each picture shows, as text, so that a change of the pages is noticed.
_TEXTS = FOLDER / "pictures.json"
_ASK = "/ui/ask?model=acme.example/dpu-net&source=acme.example/dpu@1.1&profile=acme.example/dpu-net-2024"
_NIC = "qemu.org/virtio-net-pci"
# A picture: its page, the part of the page, and how wide the browser is.
PICTURES: Mapping[str, tuple[str, str, int]] = {
    "answer": (f"{_ASK}&value=max_vqp%3D16&host=host-33", "#verdict article", 760),
    "ask": (f"{_ASK}&host=host-08&host=host-33", "main", 1000),
    "model": (f"/ui/models/{_NIC}", "main", 1000),
    "support-matrix": ("/ui/support-matrix", "main", 1000),
    "map": ("/ui/map?label=rack%3Dr1&label=gpu%3Dno", "main", 1000),
    "drain": ("/ui/drain", "#answer", 1000),
}
_HEIGHT = 1100
# Times, and the port of the test.
_DIFFERING = re.compile(r"\d{4}-\d{2}-\d{2}( \d{2}:\d{2})?|127\.0\.0\.1:\d+")
_VM = """<domain type='kvm'><name>{name}</name>
<os><type arch='x86_64' machine='{machine}'>hvm</type></os><devices>
<interface type='bridge'><model type='virtio'/><driver queues='4'/><alias name='net0'/></interface>
</devices></domain>"""


def _domains() -> str:
    vms = {"web-1": "pc-q35-7.2", "db-2": "pc-q35-10.0", "old-3": "pc-i440fx-1.4"}
    return "".join(_VM.format(name=name, machine=machine) for name, machine in vms.items())


@contextmanager
def sample() -> Iterator[str]:
    """Yield the address of a registry with the sample."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/sample.db"
        engine = database.create_engine(url)
        database.migrate(engine)
        engine.dispose()
        app = make_app(url)
        with served(app) as address:
            settings = ClientSettings(url=address, token=TOKEN)  # type: ignore[arg-type]
            with Registry(settings) as registry:
                publish_sample(registry)
            yield address


def take(browser: Browser, address: str, name: str) -> tuple[bytes, str]:
    """Return a picture, and the text that it shows."""
    path, part, width = PICTURES[name]
    context = browser.new_context(
        base_url=address, viewport={"width": width, "height": _HEIGHT}, color_scheme="light", device_scale_factor=1
    )
    page = context.new_page()
    page.goto(path)
    if name == "drain":
        page.get_by_label("libvirt domains").fill(_domains())
        page.get_by_label("They run on").fill("host-21")
        page.get_by_role("button", name="Ask", exact=True).click()
    shown = page.locator(part).first
    shown.wait_for()
    text = _DIFFERING.sub("…", shown.inner_text())
    picture = _cut(page, shown.bounding_box())
    context.close()
    return picture, text


def _cut(page: Page, box: Any) -> bytes:
    """Return a picture of a part of the page, no higher than the screen."""
    return page.screenshot(
        clip={"x": box["x"], "y": box["y"], "width": box["width"], "height": min(box["height"], _HEIGHT)},
        full_page=True,
    )


def texts() -> Mapping[str, str]:
    """Return the texts that the pictures of the documentation show."""
    read: Mapping[str, str] = json.loads(_TEXTS.read_text())
    return read


def make(browser: Browser, address: str) -> None:
    """Make all pictures again."""
    shown = {}
    for name in PICTURES:
        picture, shown[name] = take(browser, address, name)
        (FOLDER / f"{name}.png").write_bytes(picture)
    _TEXTS.write_text(json.dumps(shown, indent=1, ensure_ascii=False, sort_keys=True) + "\n")


if __name__ == "__main__":
    from tests.pages.conftest import started

    with sample() as sample_address, sync_playwright() as driver:
        chromium = started(driver)
        make(chromium, sample_address)
        chromium.close()
