"""Which trusted publisher an OIDC token fits, without an issuer or a database."""

import json
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.publishing.trusted_publisher import (
    MAX_TOKEN,
    OidcToken,
    RefusalCode,
    RefusedTokenError,
    TrustedPublisher,
    check_issuer,
    publisher_of,
    token_name,
)
from app.domain.values.document import InvalidDocumentError, Place

ISSUER = "https://issuer.example"
NOW = 1_800_000_000
CLAIMS = {"repository": "vendor-a/firmware", "ref": "refs/heads/main"}


def encoded(document: object) -> str:
    return urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


def token(**claims: Any) -> OidcToken:
    times = {"iat": NOW, "exp": NOW + 300}
    full = {"iss": ISSUER, "aud": "registry", **times, **CLAIMS, **claims}
    return OidcToken.read(f"{encoded({'alg': 'RS256'})}.{encoded(full)}.AAAA", Place())


def publisher(vendor: str = "vendor-a.com", audience: str = "registry", **claims: str) -> TrustedPublisher:
    return TrustedPublisher(vendor=vendor, issuer=ISSUER, audience=audience, claims=claims or CLAIMS)


def test_of_several_publishers_the_one_with_the_most_claims_is_named() -> None:
    general, special = publisher(repository="vendor-a/firmware"), publisher()
    for publishers in ([general, special], [special, general]):
        assert publisher_of(token(), publishers, None, NOW, Place()) == special
    assert publisher_of(token(ref="refs/tags/1"), [general, special], None, NOW, Place()) == general


def test_the_claims_of_the_nearest_publisher_are_named() -> None:
    far = publisher(repository="vendor-a/other", ref="refs/heads/other")
    with pytest.raises(RefusedTokenError, match=r'It has ref="refs/tags/1", which') as refused:
        publisher_of(token(ref="refs/tags/1"), [far, publisher()], None, NOW, Place())
    assert refused.value.code is RefusalCode.CLAIMS_DIFFER


def test_all_reasons_are_named_at_once() -> None:
    wrong = token(aud="x", exp=NOW - 40, repository="evil/firmware")
    with pytest.raises(RefusedTokenError) as refused:
        publisher_of(wrong, [publisher()], None, NOW, Place())
    assert refused.value.code is RefusalCode.EXPIRED
    assert str(refused.value) == (
        'The token is not trusted. It expired 40 seconds ago: request a new one. It is for the audience "x", which no '
        'trusted publisher with its issuer has. It has repository="evil/firmware", which no trusted publisher requires.'
    )


def test_a_claim_of_one_publisher_does_not_stand_in_for_that_of_another() -> None:
    """A token that fits the audience of one publisher and the claims of another fits none."""
    publishers = [publisher(audience="other"), publisher(repository="vendor-a/other")]
    with pytest.raises(RefusedTokenError):
        publisher_of(token(), publishers, None, NOW, Place())


def test_equal_publishers_have_one_id() -> None:
    one, other = publisher(), publisher(**dict(reversed(CLAIMS.items())))
    assert one.id == other.id
    assert publisher(vendor="vendor-b.com").id != one.id


def test_the_name_of_a_token_is_short_and_printable() -> None:
    assert token_name(publisher(), token(run_id=7)).startswith("vendor-a/firmware run 7, trusted publisher ")
    hostile = token(repository="\x1b[2J" + "x" * 9000, run_id="1\n2" * 900)
    name = token_name(publisher(), hostile)
    # The feed takes names of at most 255 characters, and the id of the token is added.
    assert len(name) < 230
    assert name.isprintable()
    assert all(text.isprintable() and len(text) <= 100 for text in hostile.audited.values())
    project = token(repository=None, project_path="vendor-a/firmware", pipeline_id="5")
    assert (project.source, project.run) == ("vendor-a/firmware", "5")
    anonymous = token(repository=None, jti="j")
    assert (anonymous.source, anonymous.run) == ("unnamed project", "j")


@given(st.text(max_size=200) | st.lists(st.binary(max_size=60), min_size=2, max_size=4).map(
    lambda parts: ".".join(urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
))  # fmt: skip
def test_any_text_is_read_or_has_faults(text: str) -> None:
    with pytest.raises((InvalidDocumentError, RefusedTokenError)):
        OidcToken.read(text[:MAX_TOKEN], Place())


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_NAMES = st.sampled_from(["iss", "aud", "exp", "iat", "nbf", "repository", "ref", "sub", "run_id"])


@given(st.dictionaries(_NAMES, _JSON, max_size=6))
def test_claims_of_any_type_are_judged_or_have_faults(claims: dict[str, Any]) -> None:
    try:
        read = token(**claims)
        publisher_of(read, [publisher()], None, NOW, Place())
    except (InvalidDocumentError, RefusedTokenError):
        return
    assert read.claims["repository"] == CLAIMS["repository"]
    assert read.is_for("registry")


@given(st.text(max_size=40) | st.text("htps:/@.?#[]127abc", max_size=40))
def test_any_text_is_an_issuer_or_a_value_error(text: str) -> None:
    try:
        url = check_issuer(text)
    except ValueError:
        return
    assert url.startswith(("https://", "http://127.", "http://localhost", "http://[::1]"))
