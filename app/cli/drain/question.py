"""The question of a drain: many VMs, in a summary, and the hosts that can take them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.verdict.policy import Policy
from app.wire.detail import Detail


@dataclass(frozen=True, slots=True)
class Question:
    """What a drain asks of its VMs. labels: of hosts that can take them; none: all. leave_out: hosts that cannot."""

    labels: Sequence[str]
    leave_out: Sequence[str]
    policy: Policy

    def document(self, vms: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Return the question about VMs."""
        return {
            "vms": list(vms),
            "destinations": [{"labels": list(self.labels)} if self.labels else {"all_hosts": True}],
            "leave_out": list(self.leave_out),
            "policy": self.policy.value,
            "detail": Detail.SUMMARY.value,
        }
