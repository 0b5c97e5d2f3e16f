"""What a publication is made from, signed or not, and what it answers as a JSON document."""

from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from app.domain.publishing.outcome import Outcome
from app.domain.values.document import FaultCode, Place
from app.domain.values.name import is_name, is_release_name
from app.service.document import broken_document, difference_document, made_otherwise_document, problem_document
from app.signing.envelope import Envelope, Subject, is_envelope
from app.storage import signature
from app.storage.signature import Signed
from app.wire.problem import MAX_BROKEN


@dataclass(frozen=True, slots=True)
class Opened:
    """What a body publishes: the document, its place in the body, and its envelope if it is signed.

    name: the name in the address, or else in the envelope; None: the document states it.
    """

    document: object
    place: Place
    name: str | None
    signed: Signed | None = None

    @classmethod
    def of(cls, body: object, name: str | None, subject: Subject, reading: sa.Connection, place: Place) -> "Opened":
        """Open a body, a document or an envelope; report the faults of the envelope.

        name: the name in the address, if there is one. Raises InvalidDocumentError if the payload cannot be read.
        """
        if not is_envelope(body):
            return cls(body, place, name)
        envelope = Envelope.read(body, place, subject)
        if envelope is None:
            place.raise_faults()
            return cls(body, place, name)
        here = place / "payload" / "name"
        if name is not None and envelope.name != name:
            here.fault(FaultCode.INVALID_NAME, f"must be {name}, the name in the address: it is signed for that name")
        elif not (is_release_name if subject is Subject.RELEASE else is_name)(envelope.name):
            here.fault(FaultCode.INVALID_NAME, f"must be the name of a {subject.value}")
            place.raise_faults()
        if isinstance(envelope.document, dict) and envelope.document.get("state") == "draft":
            message = "must not be draft: only what is published can be signed"
            (envelope.document_place / "state").fault(FaultCode.INVALID_VALUE, message)
        signed = None if place.faults else signature.verified(reading, envelope)
        return cls(envelope.document, envelope.document_place, envelope.name if name is None else name, signed)


def publication_document(name: str, outcome: Outcome, *, dry_run: bool) -> dict[str, Any]:
    """Return the outcome of a publication as JSON."""
    return {
        "name": name,
        "dry_run": dry_run,
        "added": outcome.added.counts(),
        "not_accepted": [
            {
                "profile": entry.profile,
                "model": entry.model,
                "problems": [problem_document(problem) for problem in entry.problems],
            }
            for entry in outcome.not_accepted
        ],
        "overridden": [broken_document(entry) for entry in outcome.overridden[:MAX_BROKEN]],
        "overridden_count": len(outcome.overridden),
        "breaks": [broken_document(entry) for entry in outcome.breaks[:MAX_BROKEN]],
        "breaks_count": len(outcome.breaks),
        "previous": outcome.previous,
        "no_longer_listed": outcome.no_longer_listed,
        "makes_otherwise": [made_otherwise_document(entry) for entry in outcome.made_otherwise],
        "state_not_readable": [asdict(entry) for entry in outcome.state_not_readable[:MAX_BROKEN]],
        "state_not_readable_count": len(outcome.state_not_readable),
        "differences": None
        if outcome.differences is None
        else {model: list(map(difference_document, entries)) for model, entries in outcome.differences.items()},
    }
