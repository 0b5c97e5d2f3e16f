"""Calls that are repeated while a registry cannot be reached."""

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_delay, stop_never, wait_random_exponential

from app.cli.output import warn
from app.client import RegistryError

_MAX_PAUSE_SECONDS = 15


def patient(seconds: float | None = None) -> Retrying:
    """Return what repeats a call after a transient RegistryError, and says so once. seconds: when to give up."""
    return Retrying(
        retry=retry_if_exception(lambda error: isinstance(error, RegistryError) and error.is_transient),
        wait=wait_random_exponential(multiplier=0.2, max=_MAX_PAUSE_SECONDS),
        stop=stop_never if seconds is None else stop_after_delay(seconds),
        before_sleep=_warn_once,
        reraise=True,
    )


def _warn_once(attempt: RetryCallState) -> None:
    if attempt.attempt_number == 1 and attempt.outcome is not None:
        warn(f"{attempt.outcome.exception()}; retrying")
