"""An example of a verdict from what is published: a question that is refused, where there is one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from app.domain.engine.question import DeviceAnswer
from app.domain.publishing import gate
from app.domain.values.name import ReleaseName
from app.service import compatibility
from app.storage.reader import Reader
from app.wire import compatibility as wire
from app.wire.detail import Detail

# At most this many questions are tried.
_MAX_TRIES = 12
_MAX_RELEASES = 4
_MODELS_OF_EACH = 3
_PROFILES_OF_EACH = 2


@dataclass(frozen=True, slots=True)
class Example:
    """A device, where it runs, the release that it would move to, and the answer."""

    model: str
    source: str
    profile: str
    destination: str
    answer: DeviceAnswer


def find(preferred: Sequence[str], reader: Reader) -> Example | None:
    """Return a refused question between two releases of a product, otherwise a compatible one; None: no two.

    preferred: models, those that come first in it are tried first.
    """
    first = None
    for model, profile, source, destination in islice(_candidates(preferred, reader), _MAX_TRIES):
        example = _asked(model, profile, source, destination, reader)
        if not example.answer.verdict.compatible:
            return example
        first = first or example
    return first


def _candidates(preferred: Sequence[str], reader: Reader) -> Iterator[tuple[str, str, str, str]]:
    """Iterate over questions between releases with neighbouring versions."""
    names = [ReleaseName.parse(name) for name in reader.implementing()]
    rank = {name: number for number, name in enumerate(preferred)}
    pairs = ((own, other) for own in reversed(names) if (other := _lower(own, names)) is not None)
    for newer, older in islice(pairs, _MAX_RELEASES):
        # Back first: what is new is refused there.
        for source, destination in ((str(newer), str(older)), (str(older), str(newer))):
            here, there = reader.digests(source) or {}, reader.digests(destination) or {}
            # Models that differ come first.
            models = sorted(
                here.keys() & there.keys(),
                key=lambda model: (here[model] == there[model], rank.get(model, len(rank)), model),
            )
            release = reader.snapshot(releases=[source], of_models=()).release(source)
            listed = (release.profiles if release is not None else None) or frozenset()
            for model in models[:_MODELS_OF_EACH]:
                profiles = [name for name in reader.naming([model]) if name in listed]
                for profile in profiles[:_PROFILES_OF_EACH]:
                    yield model, profile, source, destination


def _lower(release: ReleaseName, names: Sequence[ReleaseName]) -> ReleaseName | None:
    """Return the release of the same product with the next lower version."""
    versions = [name.version for name in names if name.implementation == release.implementation]
    before = gate.previous(release.version, versions)
    return None if before is None else ReleaseName(release.implementation, before)


def _asked(model: str, profile: str, source: str, destination: str, reader: Reader) -> Example:
    question = wire.Question(
        devices=[wire.Device(model=model, release=source, profile=profile)],
        destinations=[wire.Destination(releases=[destination])],
    )
    (of_vm,) = compatibility.ask(question, Detail.PROBLEMS, reader).answers
    return Example(model, source, profile, destination, of_vm.answers[0].devices[0])
