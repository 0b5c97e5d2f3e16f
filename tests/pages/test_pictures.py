"""The pictures of the documentation show the pages as they are."""

import base64
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.pages import pictures
from tests.pages.conftest import CHROMIUM

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

# The mean difference of two pictures in small, from 0 to 255: fonts of other machines change little.
_MOST = 12
_DIFFERENCE = """
async ([one, other]) => {
  const width = 96, height = 96;
  const pixels = async data => {
    const image = new Image();
    image.src = 'data:image/png;base64,' + data;
    await image.decode();
    const canvas = new OffscreenCanvas(width, height);
    const context = canvas.getContext('2d');
    context.imageSmoothingQuality = 'high';
    context.drawImage(image, 0, 0, width, height);
    return context.getImageData(0, 0, width, height).data;
  };
  const [a, b] = [await pixels(one), await pixels(other)];
  let sum = 0;
  for (let place = 0; place < a.length; place++) sum += Math.abs(a[place] - b[place]);
  return sum / a.length;
}
"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Yield the address of a registry with the sample."""
    with pictures.sample() as address:
        yield address


@pytest.mark.parametrize("name", pictures.PICTURES)
def test_a_picture_shows_what_its_page_shows_today(browser: Browser, address: str, name: str) -> None:
    """Run `python -m tests.pages.pictures` to make the pictures again."""
    picture, shown = pictures.take(browser, address, name)
    assert shown == pictures.texts()[name]
    kept = (pictures.FOLDER / f"{name}.png").read_bytes()
    page = browser.new_page()
    encoded = [base64.b64encode(data).decode() for data in (picture, kept)]
    difference = page.evaluate(_DIFFERENCE, encoded)
    page.close()
    assert difference < _MOST
