"""Trials: what publishing a release would add and break, for somebody who need not be allowed to publish it."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.publishing.outcome import ConflictError, Outcome
from app.domain.things.release import ReleaseDocument
from app.domain.values.document import Fault, InvalidDocumentError, Place
from app.domain.values.name import ReleaseName, vendor_of
from app.domain.values.state import State
from app.service.publication import Opened
from app.signing.envelope import Subject
from app.storage import lookup, schema
from app.storage.publication import try_release
from app.storage.reader import Reader
from app.storage.signature import must_sign


@dataclass(frozen=True, slots=True)
class Trial:
    """What would come of a publication.

    outcome: None if it has faults. faults: of the document. is_conflict: they would change what is published.
    unregistered: vendors of its names that are not registered yet. unsigned: vendors that must sign it, and have not.
    is_draft: the document asks to be kept as a draft.
    """

    outcome: Outcome | None
    faults: Sequence[Fault] = ()
    is_conflict: bool = False
    unregistered: Sequence[str] = ()
    unsigned: Sequence[str] = ()
    is_draft: bool = False


def of_release(name: ReleaseName, body: object, reader: Reader) -> Trial:
    """Return what would come of publishing a release; body: its document, or an envelope.

    Faults are returned, not raised: an error that leaves a thread would hold all that was loaded.
    """
    with reader.connection() as connection:
        try:
            opened = Opened.of(body, str(name), Subject.RELEASE, connection, Place())
            document = ReleaseDocument.read(opened.document, opened.place)
            outcome = try_release(connection, name, document, opened.place)
        except ConflictError as error:
            return Trial(None, error.faults, is_conflict=True)
        except InvalidDocumentError as error:
            return Trial(None, error.faults)
        vendors = {name.vendor, *map(vendor_of, document.own_profiles)}
        signers = opened.signed.vendors if opened.signed else frozenset()
        return Trial(
            outcome,
            unregistered=sorted(vendors - lookup.ids(connection, schema.vendor, vendors).keys()),
            unsigned=sorted(must_sign(connection, vendors) - signers),
            is_draft=document.state is State.DRAFT,
        )
