"""A snapshot: what one question names, loaded from one state of the registry, to be judged without I/O."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from app.domain.things.model import Model
from app.domain.things.profile import Profile
from app.domain.things.release import Release

Content = TypeVar("Content")


class NotLoadedError(LookupError):
    """The program asks a snapshot for something that it did not load: a fault of the program, never of a request."""


class Loaded(Mapping[str, Content]):
    """Content by device model, of the models that were loaded.

    A model that was not loaded is never taken for one without content: asking for it raises NotLoadedError. Iteration
    and length are about the loaded models.
    """

    __slots__ = ("_content", "_models")

    def __init__(self, content: Mapping[str, Content], models: frozenset[str] | None) -> None:
        """models: those that were loaded, None for all."""
        self._content = content
        self._models = models

    def _check(self, model: object) -> None:
        if self._models is not None and model not in self._models:
            message = f"{model} was not loaded"
            raise NotLoadedError(message)

    def get(self, model: str, default: Any = None) -> Any:
        """Return the content of a model, the default if there is none."""
        found = self._content.get(model)
        if found is None:
            self._check(model)
            return default
        return found

    def __getitem__(self, model: str) -> Content:
        if model not in self._content:
            self._check(model)
        return self._content[model]

    def __contains__(self, model: object) -> bool:
        if model in self._content:
            return True
        self._check(model)
        return False

    def __iter__(self) -> Iterator[str]:
        return iter(self._content)

    def __len__(self) -> int:
        return len(self._content)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Models, releases and profiles by name, None for a name that is not published; implements `Registry`."""

    models: Mapping[str, Model | None] = field(default_factory=dict)
    releases: Mapping[str, Release | None] = field(default_factory=dict)
    profiles: Mapping[str, Profile | None] = field(default_factory=dict)

    def model(self, name: str) -> Model | None:
        """Return the device model, None if it is not published; raises NotLoadedError."""
        return _loaded(self.models, name)

    def release(self, name: str) -> Release | None:
        """Return the release, None if it is not published; raises NotLoadedError."""
        return _loaded(self.releases, name)

    def profile(self, name: str) -> Profile | None:
        """Return the profile, None if it is not published; raises NotLoadedError."""
        return _loaded(self.profiles, name)

    @property
    def is_complete(self) -> bool:
        """Whether something is published under each of the names."""
        return not any(None in named.values() for named in (self.models, self.releases, self.profiles))

    def known_releases(self) -> list[Release]:
        """Return the releases that are published, in the order in which they were loaded."""
        return [release for release in self.releases.values() if release is not None]

    def known_profiles(self) -> list[Profile]:
        """Return the profiles that are published, in the order in which they were loaded."""
        return [profile for profile in self.profiles.values() if profile is not None]


def _loaded(named: Mapping[str, Content | None], name: str) -> Content | None:
    try:
        return named[name]
    except KeyError:
        message = f"{name} was not loaded"
        raise NotLoadedError(message) from None
