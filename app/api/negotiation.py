"""What a client prefers to receive, by its Accept header (RFC 9110, 12.5.1)."""

from collections.abc import Sequence

_HTML = "text/html"
_JSON = ("application/problem+json", "application/json")


def prefers_html(accept: Sequence[str]) -> bool:
    """Return whether a client prefers a page to JSON, as browsers do; accept: its Accept headers.

    A client that accepts both alike, such as one that accepts anything, receives JSON.
    """
    ranges = [_read(item) for header in accept for item in header.split(",") if item.strip()]
    return _quality(_HTML, ranges) > max(_quality(media_type, ranges) for media_type in _JSON)


def _read(item: str) -> tuple[str, float]:
    """Return a media range and its quality; what cannot be read as a quality is 0."""
    media_range, *parameters = (part.strip().lower() for part in item.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            return media_range, _number(value.strip())
    return media_range, 1.0


def _number(text: str) -> float:
    if not text.replace(".", "", 1).isdecimal() or not text.isascii():
        return 0.0
    return min(float(text), 1.0)


def _quality(media_type: str, ranges: Sequence[tuple[str, float]]) -> float:
    """Return the quality of a media type: that of the most specific range which it is in."""
    for media_range in (media_type, f"{media_type.partition('/')[0]}/*", "*/*"):
        qualities = [quality for given, quality in ranges if given == media_range]
        if qualities:
            return max(qualities)
    return 0.0
