"""A signed head verifies against pinned keys alone, and a feed counts only if it leads to that head."""

import base64
from typing import Any

import pytest

from app.domain.publishing.change import LINKED as LINKED_BY_THE_DOMAIN
from app.domain.publishing.change import linked
from app.signing.checkpoint import LINKED, Checkpoint, Note, UntrustedError, check_history, link_after, root_of
from app.signing.key import PrivateKey, PublicKey

ORIGIN = "registry.example"
OLD, NEW, OTHER = (PrivateKey.create(ORIGIN) for _ in range(3))
REGISTRY = "c2a1"


def feed(length: int, by: str = "admin") -> list[dict[str, Any]]:
    """Return the entries of a feed."""
    entries: list[dict[str, Any]] = []
    link = REGISTRY
    for seq in range(1, length + 1):
        entry: dict[str, Any] = {
            "seq": seq,
            "part_of": seq,
            "at": "2026-11-23T12:00:00.000Z",
            "by": by,
            "kind": "vendor-registered",
            "name": f"ä-{seq}.com",
            "digest": None,
            "detail": {"added": {"vendors": 1}, "note": "é\n"},
            "document_digest": None,
        }
        link = linked(link, entry)
        entries.append({**entry, "link": link})
    return entries


def head(entries: list[dict[str, Any]], *keys: PrivateKey, origin: str = ORIGIN) -> str:
    """Return the signed head of a feed."""
    last: dict[str, Any] = entries[-1] if entries else {"seq": 0, "link": REGISTRY}
    return Checkpoint.of(origin, last["seq"], last["link"]).signed(keys)


def verified(note: str, *keys: PublicKey) -> Checkpoint:
    return Note.read(note).verified(keys)


def test_the_note_has_the_form_of_the_specification() -> None:
    entries = feed(3)
    note = head(entries, OLD)
    origin, seq, root, blank, signature, end = note.split("\n")
    assert (origin, seq, blank, end) == (ORIGIN, "3", "", "")
    assert base64.b64decode(root).hex() == entries[-1]["link"].removeprefix("sha256:")
    dash, name, content = signature.split(" ")
    assert (dash, name, base64.b64decode(content)[:4].hex()) == ("\u2014", ORIGIN, OLD.public.id)
    assert head(entries, OLD) == note, "the same head always has the same signature"


def test_a_head_verifies_against_the_pinned_key_alone() -> None:
    checkpoint = Checkpoint.of(ORIGIN, 3, feed(3)[-1]["link"])
    assert verified(head(feed(3), OLD), OLD.public) == checkpoint
    assert checkpoint.link == feed(3)[-1]["link"]
    with pytest.raises(UntrustedError, match="not by a trusted key"):
        verified(head(feed(3), OLD), OTHER.public)


def test_a_key_is_replaced_with_an_overlap() -> None:
    both = head(feed(3), OLD, NEW)
    for pinned in ([OLD.public], [NEW.public], [OLD.public, NEW.public]):
        assert verified(both, *pinned).seq == 3
    assert verified(head(feed(3), NEW), OLD.public, NEW.public).seq == 3
    with pytest.raises(UntrustedError, match="not by a trusted key"):
        verified(head(feed(3), NEW), OLD.public)


def test_every_altered_byte_is_noticed() -> None:
    note = head(feed(3), OLD)
    for place in range(len(note)):
        for character in "0A\n ":
            altered = note[:place] + character + note[place + 1 :]
            if altered != note:
                with pytest.raises(UntrustedError):
                    verified(altered, OLD.public)


def test_one_false_signature_of_a_trusted_key_refuses_the_note() -> None:
    good, false = head(feed(3), OLD, NEW), head(feed(2), NEW)
    mixed = "\n".join([*good.split("\n")[:5], false.split("\n")[4], ""])
    assert verified(mixed, OLD.public).seq == 3, "signatures of unknown keys are ignored"
    with pytest.raises(UntrustedError, match="does not match the head of the feed"):
        verified(mixed, OLD.public, NEW.public)


def test_a_head_of_another_origin_is_refused() -> None:
    with pytest.raises(UntrustedError, match=r"its origin is other.example, but the trusted keys sign for"):
        verified(head(feed(3), OLD, origin="other.example"), OLD.public)


def test_lines_that_a_later_version_adds_are_covered_by_the_signature() -> None:
    text = f"{Checkpoint.of(ORIGIN, 3, feed(3)[-1]['link']).text}an extension\n"
    line = base64.b64encode(bytes.fromhex(OLD.public.id) + OLD.sign(text.encode())).decode()
    assert verified(f"{text}\n\u2014 {ORIGIN} {line}\n", OLD.public).seq == 3
    with pytest.raises(UntrustedError):
        verified(f"{text.replace('an ', 'no ')}\n\u2014 {ORIGIN} {line}\n", OLD.public)


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n\n",
        "a\n1\nAAAA\n",
        "a\n1\n\n\u2014 a AAAAAAAA\n",
        "a\n01\nAAAA\n\n\u2014 a AAAAAAAA\n",
        "a\n-1\nAAAA\n\n\u2014 a AAAAAAAA\n",
        "a\n1\n!!!!\n\n\u2014 a AAAAAAAA\n",
        "a\n1\nAAAA\n\n- a AAAAAAAA\n",
        "a\n1\nAAAA\n\n\u2014 a AAAA\n",
        "a\n1\nAAAA\n\n\u2014 a AAAAAAAA",
        "a\n1\nAAAA\n\n" + "\u2014 a AAAAAAAA\n" * 101,
        "a\n1\nAAAA\n\n\u2014 a " + "A" * 70_000 + "\n",
    ],
)
def test_what_is_not_a_signed_checkpoint_is_refused(note: str) -> None:
    with pytest.raises(UntrustedError, match="not a signed checkpoint"):
        Note.read(note)


def test_links_are_those_of_the_domain() -> None:
    assert LINKED == LINKED_BY_THE_DOMAIN
    for before, entry in zip([REGISTRY, *(entry["link"] for entry in feed(3))], feed(3), strict=False):
        assert link_after(before, entry) == linked(before, entry)


@pytest.mark.parametrize("seen", range(6))
def test_a_feed_leads_from_what_was_seen_to_its_signed_head(seen: int) -> None:
    entries = feed(5)
    link = entries[seen - 1]["link"] if seen else REGISTRY
    check_history(seen, link, entries[seen:], Checkpoint.of(ORIGIN, 5, entries[-1]["link"]))


def test_an_older_head_than_the_one_seen_is_refused() -> None:
    entries = feed(5)
    with pytest.raises(UntrustedError, match="change 3, is older than change 5, which was seen before"):
        check_history(5, entries[-1]["link"], [], Checkpoint.of(ORIGIN, 3, entries[2]["link"]))


def test_another_feed_of_the_same_length_is_refused() -> None:
    """It is linked anew, so every link of it is right; only the signed head differs."""
    signed = Checkpoint.of(ORIGIN, 5, feed(5)[-1]["link"])
    for seen in (0, 5):
        link = feed(5, "mallory")[seen - 1]["link"] if seen else REGISTRY
        with pytest.raises(UntrustedError, match="do not lead to its signed head"):
            check_history(seen, link, feed(5, "mallory")[seen:], signed)


@pytest.mark.parametrize("field", [*LINKED, "link"])
@pytest.mark.parametrize("place", [0, 2, 4])
def test_every_altered_field_is_noticed(place: int, field: str) -> None:
    entries = feed(5)
    signed = Checkpoint.of(ORIGIN, 5, entries[-1]["link"])
    values: list[Any] = [None, "x", 7, {}, float("nan")]
    for value in values:
        if entries[place][field] != value:
            altered = [*entries[:place], {**entries[place], field: value}, *entries[place + 1 :]]
            with pytest.raises(UntrustedError):
                check_history(0, REGISTRY, altered, signed)


@pytest.mark.parametrize(
    "of", [lambda feed: feed[1:], lambda feed: feed[:-1], lambda feed: feed[::-1], lambda feed: [*feed[:2], *feed[3:]]]
)
def test_missing_and_exchanged_changes_are_noticed(of: Any) -> None:
    entries = feed(5)
    with pytest.raises(UntrustedError):
        check_history(0, REGISTRY, of(entries), Checkpoint.of(ORIGIN, 5, entries[-1]["link"]))


def test_an_empty_feed_has_a_head_of_its_own_registry() -> None:
    empty = verified(head([], OLD), OLD.public)
    assert (empty.seq, empty.root) == (0, root_of(REGISTRY))
    check_history(0, REGISTRY, [], empty)
    with pytest.raises(UntrustedError):
        check_history(0, "another", [], empty)
