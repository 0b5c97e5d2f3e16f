"""Browsers prefer pages; programs get JSON unless they say otherwise."""

import pytest

from app.api.negotiation import prefers_html

FIREFOX = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
CHROMIUM = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,"
    "application/signed-exchange;v=b3;q=0.7"
)


@pytest.mark.parametrize(
    ("accept", "is_html"),
    [
        ([], False),
        ([""], False),
        (["*/*"], False),
        (["application/json"], False),
        (["application/problem+json"], False),
        (["application/json, text/html"], False),
        (["text/html, application/problem+json"], False),
        (["text/html;q=0.9, application/json"], False),
        (["application/json, text/html;q=0.9, */*;q=0.1"], False),
        (["text/csv"], False),
        (["text/event-stream"], False),
        (["text/html;q=0"], False),
        (["text/html;q=0, text/*"], False),
        (["text/html;q=many"], False),
        (["text/html;q=²"], False),
        (["text/plain, */*;q=0.1"], False),
        ([FIREFOX], True),
        ([CHROMIUM], True),
        (["text/html"], True),
        (["TEXT/HTML; charset=utf-8"], True),
        (["text/*"], True),
        (["*/*;q=0.5, text/*"], True),
        (["application/json;q=0.5, text/html;q=0.6"], True),
        (["application/*;q=0.5", "text/html"], True),
        (["text/html;q=7, application/json"], False),
    ],
)
def test_which_clients_prefer_pages(accept: list[str], is_html: bool) -> None:
    assert prefers_html(accept) is is_html
