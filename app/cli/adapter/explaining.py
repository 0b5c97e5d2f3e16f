"""What the commands of all adapters share: asking as the adapter does, and showing its verdicts."""

from collections.abc import Mapping, Sequence

import pydantic

from app.adapters import asking, settings
from app.cli.output import fail, print_json, print_table

# Exit statuses.
ALLOWED, NOT_ALLOWED = 0, 1


def read_settings() -> "settings.AdapterSettings":
    """Return the settings of adapters in the environment; print the errors in them and exit if there are any."""
    try:
        return settings.AdapterSettings()
    except pydantic.ValidationError as error:
        fail(
            "\n".join(
                f"REGISTRY_{'_'.join(map(str, fault['loc'])).upper()}: {fault['msg']}" for fault in error.errors()
            )
        )


def pairs(texts: Sequence[str], option: str) -> Mapping[str, str]:
    """Return the KEY=VALUE pairs of an option; print the error and exit if one is none."""
    found = dict(text.partition("=")[::2] for text in texts)
    for text in texts:
        if "=" not in text:
            fail(f"{option} must be KEY=VALUE, not {text}")
    return found


def print_verdicts(verdicts: "asking.Verdicts", *, as_json: bool) -> None:
    """Print the verdict and the reason for each host."""
    if as_json:
        print_json(
            {
                "hosts": [
                    {
                        "host": host,
                        "allowed": verdict.is_allowed,
                        "reason": verdict.reason,
                        "warnings": verdict.warnings,
                        "unchecked": verdict.unchecked,
                    }
                    for host, verdict in verdicts.items()
                ]
            }
        )
        return
    rows = [
        (host, "allowed" if verdict.is_allowed else "refused", verdict.reason) for host, verdict in verdicts.items()
    ]
    print_table(("host", "answer", "reason"), rows)
