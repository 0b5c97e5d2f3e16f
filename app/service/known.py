"""Names that have to be published for a request to make sense."""

from typing import Literal, TypeAlias

from app.domain.things.model import Model
from app.domain.things.profile import Profile
from app.domain.things.release import Release
from app.domain.things.snapshot import Snapshot

Kind: TypeAlias = Literal[
    "change",
    "erratum",
    "host",
    "implementation",
    "key",
    "kind",
    "mirror",
    "model",
    "profile",
    "release",
    "signature",
    "token",
    "trusted publisher",
    "variable set",
    "vendor",
]


class UnknownNameError(LookupError):
    """Nothing is published under a name; kind: what the request needs there, such as `release`."""

    def __init__(self, name: str, kind: Kind) -> None:
        super().__init__(f"the registry has no {kind} {name}")
        self.name = name
        self.kind = kind


def known_model(name: str, snapshot: Snapshot) -> Model:
    """Return the device model; raises UnknownNameError."""
    model = snapshot.model(name)
    if model is None:
        raise UnknownNameError(name, "model")
    return model


def known_release(name: str, snapshot: Snapshot) -> Release:
    """Return the release; raises UnknownNameError."""
    release = snapshot.release(name)
    if release is None:
        raise UnknownNameError(name, "release")
    return release


def known_profile(name: str, snapshot: Snapshot) -> Profile:
    """Return the profile; raises UnknownNameError."""
    profile = snapshot.profile(name)
    if profile is None:
        raise UnknownNameError(name, "profile")
    return profile
