"""What a publication answers, as a JSON document."""

from dataclasses import asdict
from typing import Any

from app.domain.publishing.outcome import Outcome
from app.service.document import broken_document, made_otherwise_document, problem_document
from app.wire.problem import MAX_BROKEN


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
    }
