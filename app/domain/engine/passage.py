"""From one release to another: what decides a verdict there whatever the values of the device are."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.things.erratum import ENTERING, LEAVING, Erratum, forbidding
from app.domain.things.release import Release
from app.domain.things.variable_set import VariableSet
from app.domain.values.budget import spend
from app.domain.verdict import steps
from app.domain.verdict.judge import destination_name
from app.domain.verdict.policy import Policy
from app.domain.verdict.problem import Caution, Problem
from app.domain.verdict.source import Source

# What finding it out takes of a request's budget.
_STEPS = 15


@dataclass(frozen=True, slots=True)
class Passage:
    """From a source release to a destination release, with a profile: names, states, lists, saved states and errata.

    problems: of steps 7, 8 and 9. cautions: the warnings of the same. destination: what messages call the destination.
    is_compared: step 12 is met, whatever is given. leaving, entering: the errata of either release that forbid the
    migration in configurations that they concern. warns_of_errata: the source release is not known, so some are not
    checked. unchecked: what the answer lists as unchecked beside variables, of these warnings.
    """

    problems: tuple[Problem, ...]
    cautions: tuple[Caution, ...]
    destination: str
    is_compared: bool
    leaving: Sequence[Erratum]
    entering: Sequence[Erratum]
    warns_of_errata: bool
    unchecked: tuple[str, ...]

    @property
    def decides_alone(self) -> bool:
        """Whether errata and step 12 need no look at the values of a device."""
        return self.is_compared and not self.leaving and not self.entering and not self.warns_of_errata

    @classmethod
    def of(cls, source: Source, release: Release, variable_set: VariableSet | None, policy: Policy) -> "Passage":
        """Return what is known of a migration before the values are looked at.

        The explicit values decide nothing here. `Memo.passage` has a key that stands for all that does.
        """
        spend(_STEPS)
        profile, origin, model = source.device.profile, source.release, source.device.model
        problems = (
            *steps.step_7(release, profile, source.profile.state if source.profile else None),
            *steps.step_8(release, profile, policy),
            *steps.step_9(source, release, variable_set),
        )
        cautions = tuple(steps.warnings(source, release, variable_set, policy))
        there = release.errata.get(model, ())
        here = origin.errata.get(model, ()) if origin else ()
        return cls(
            problems,
            cautions,
            destination_name(release, variable_set),
            variable_set is not None and steps.has_compared(variable_set, (), source.set),
            forbidding(here, LEAVING, None, release.name),
            forbidding(there, ENTERING, None, origin.name if origin else None),
            warns_of_errata=origin is None and bool(there),
            unchecked=steps.not_checked(cautions, source, variable_set),
        )
