"""Keys have the text form of signed notes, and a text that is not a key is refused without being shown."""

import base64

import pytest

from app.signing.key import InvalidKeyError, PrivateKey, PublicKey, read_private_keys

# The example of golang.org/x/mod/sumdb/note.
PUBLIC = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PRIVATE = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
TEXT = b"If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
SIGNATURE = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="


def test_a_key_of_another_program_signs_and_verifies_the_same() -> None:
    public, private = PublicKey.read(PUBLIC), PrivateKey.read(PRIVATE)
    signature = base64.b64decode(SIGNATURE)
    assert (str(private.public), private.text()) == (PUBLIC, PRIVATE)
    assert bytes.fromhex(public.id) + private.sign(TEXT) == signature
    assert public.has_signed(TEXT, signature[4:])


def test_a_signature_of_another_text_or_key_does_not_verify() -> None:
    public, other = PublicKey.read(PUBLIC), PrivateKey.create("PeterNeumann")
    signature = base64.b64decode(SIGNATURE)[4:]
    assert not public.has_signed(TEXT + b"\n", signature)
    assert not public.has_signed(TEXT, other.sign(TEXT))
    assert not public.has_signed(TEXT, signature[:-1])
    assert not public.has_signed(TEXT, b"")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "name+c74f20a3",
        PUBLIC[:-4],
        PUBLIC.replace("c74f20a3", "c74f20a4"),
        PUBLIC.replace("PeterNeumann", "Peter"),
        PUBLIC.replace("PeterNeumann", "Peter Neumann"),
        PUBLIC.replace("+ARpc", "+ÄRpc"),
        PUBLIC.replace("PeterNeumann", ""),
        PRIVATE,
    ],
)
def test_what_is_not_a_public_key_is_refused(text: str) -> None:
    with pytest.raises(InvalidKeyError) as refused:
        PublicKey.read(text)
    assert "AYEKFAL" not in str(refused.value)


@pytest.mark.parametrize("text", ["", PUBLIC, PRIVATE[:-4], PRIVATE.replace("c74f20a3", "00000000")])
def test_what_is_not_a_private_key_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(InvalidKeyError) as refused:
        PrivateKey.read(text)
    assert "AYEKFAL" not in str(refused.value)
    assert "AYEKFAL" not in repr(PrivateKey.read(PRIVATE))


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\u200bb", "x" * 256])
def test_a_key_cannot_have_such_a_name(name: str) -> None:
    with pytest.raises(InvalidKeyError, match="a key's name must have"):
        PrivateKey.create(name)


def test_keys_that_sign_together_have_one_name() -> None:
    first, second = PrivateKey.create("registry.example"), PrivateKey.create("registry.example")
    assert read_private_keys(f"\n{first.text()}\n{second.text()}\n") == [first, second]
    for text in ("", "\n", f"{first.text()} {PRIVATE}"):
        with pytest.raises(InvalidKeyError):
            read_private_keys(text)
