"""The guides of the documentation, served by the registry itself so that they fit its version."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup, escape

_PACKAGE = Path(__file__).resolve().parents[1]
# A wheel has the guides in the package, a checkout in the documentation.
_FOLDERS = (_PACKAGE / "guides", _PACKAGE.parent / "docs" / "pages")

# By name, in the order in which the help page lists them. A test compares the titles with the files.
GUIDES: Mapping[str, str] = {
    "first-steps": "First steps",
    "publish": "Publish from a vendor's pipeline",
    "pipelines": "Pipelines for GitHub and GitLab",
    "outside": "Publish a VFIO, vDPA or mdev device",
    "ask": "Ask from a scheduler",
    "hosts": "Hosts and VMs that report themselves",
    "fleet": "Plan a fleet",
    "verdict": "How a verdict is made",
    "left-out": "What is not compared",
    "signatures": "Sign and verify",
    "mirror": "Mirror into a closed network",
    "production": "Run it in production",
    "configuration": "Configuration",
    "commands": "The command",
    "speed": "How fast",
}
# Comments say to the tests which commands to run.
_COMMENT = re.compile(r"^<!--.*?-->\n", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Guide:
    """A guide as a page."""

    title: str
    html: Markup


@cache
def titles() -> Mapping[str, str]:
    """Return the titles of the guides that this installation has, by name."""
    return {name: title for name, title in GUIDES.items() if _path(name) is not None}


def _path(name: str) -> Path | None:
    paths = (folder / f"{name}.md" for folder in _FOLDERS)
    return next((path for path in paths if path.is_file()), None)


def guide(name: str, root: str) -> Guide | None:
    """Return a guide; None if this installation has none of this name. root: the root path of the service."""
    # Unknown names are not remembered: there can be any number of them.
    path = _path(name) if name in GUIDES else None
    return None if path is None else _read(path, root)


@cache
def _read(path: Path, root: str) -> Guide:
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse(_COMMENT.sub("", path.read_text(encoding="utf-8")))
    title = next(token.content for token in tokens if token.type == "inline")
    return Guide(title, Markup(markdown.renderer.render(_adapted(tokens, root), markdown.options, {})))  # noqa: S704 (it escapes)


def _adapted(tokens: Sequence[Token], root: str) -> list[Token]:
    """Return the tokens of a guide as a page needs them: anchors, links to other guides, tables that scroll."""
    adapted: list[Token] = []
    heading, tables = "", Counter[str]()
    for index, token in enumerate(tokens):
        if token.type == "heading_open":
            heading = tokens[index + 1].content
            token.attrSet("id", _anchor(heading))
        if token.type == "th_open":
            token.attrSet("scope", "col")
        if token.children:
            token.children = _adapted_inline(token.children, root)
        if token.type == "table_open":
            tables[heading] += 1
            # Regions need names that differ.
            label = escape(heading if tables[heading] == 1 else f"{heading} ({tables[heading]})")
            adapted.append(_html(f'<div class="wide" tabindex="0" role="region" aria-label="{label}">'))
        is_code = token.type in {"fence", "code_block"}
        adapted.append(_html(f'<pre tabindex="0"><code>{escape(token.content)}</code></pre>\n') if is_code else token)
        if token.type == "table_close":
            adapted.append(_html("</div>\n"))
    return adapted


def _html(text: str) -> Token:
    return Token("html_block", "", 0, content=text)


def _anchor(heading: str) -> str:
    """Return the anchor of a heading, as the documentation makes it."""
    text = re.sub(r"[^\w\s-]", "", heading.replace("`", "")).strip().lower()
    return re.sub(r"[\s-]+", "-", text)


def _adapted_inline(tokens: Sequence[Token], root: str) -> list[Token]:
    """Return the tokens of a line: links lead to other guides or elsewhere; what is not served here is plain text."""
    adapted: list[Token] = []
    is_left_out = False
    for token in tokens:
        if token.type == "link_open":
            address = _address(str(token.attrGet("href")), root)
            is_left_out = address is None
            token.attrSet("href", address or "")
        if token.type not in {"link_open", "link_close"} or not is_left_out:
            adapted.append(Token("text", "", 0, content=token.content) if token.type == "image" else token)
        is_left_out = is_left_out and token.type != "link_close"
    return adapted


def _address(href: str, root: str) -> str | None:
    """Return where a link of a guide leads to; None: to nothing that is served."""
    if href.startswith(("https://", "#")):
        return href
    path, _, fragment = href.partition("#")
    name = path.removesuffix(".md")
    if path == "problems.md":
        return f"{root}/help"
    if name not in GUIDES:
        return None
    return f"{root}/help/guides/{name}" + (f"#{fragment}" if fragment else "")
