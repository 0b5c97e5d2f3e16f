"""The command line's client of the registry: over HTTP, as for any vendor and orchestrator."""

import httpx

from app import client
from app.client import RegistryError
from app.client.core import RETRY_SECONDS, Call
from app.settings import ClientSettings


class Registry(client.Registry):
    """A registry configured from the environment; its errors name the next step on the command line."""

    def __init__(
        self,
        settings: ClientSettings,
        transport: httpx.BaseTransport | None = None,
        address_hint: str = "REGISTRY_URL sets the registry's address",
        token_variable: str = "REGISTRY_TOKEN",  # noqa: S107 (the name of a variable)
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        """address_hint: the advice if the registry cannot be reached; token_variable: the variable with the token."""
        # An empty environment variable means no token.
        token = (settings.token.get_secret_value() if settings.token is not None else "").strip() or None
        if token is not None and not (token.isascii() and token.isprintable()):
            message = f"{token_variable} must contain only visible ASCII characters"
            raise RegistryError(message)
        try:
            super().__init__(settings.url, token, retry_seconds=retry_seconds, transport=transport)
        except httpx.InvalidURL as error:
            message = f"{settings.url} is not a valid URL: {error} ({address_hint})"
            raise RegistryError(message) from error
        self._address_hint = address_hint
        self._token_variable = token_variable

    def _send(self, call: Call) -> httpx.Response:
        try:
            return super()._send(call)
        except RegistryError as error:
            raise self._with_advice(error) from error

    def _with_advice(self, error: RegistryError) -> RegistryError:
        """Return the error with the next step on the command line."""
        first, *rest = str(error).split("\n")
        if error.problem is None:
            first += f" ({self._address_hint})"
        elif error.problem.get("code") == "unknown-vendor":
            rest.append("  Ask an admin to register it: PUT /vendors/<vendor>")
        advice = f"Not signed in: set {self._token_variable} (HTTP: Authorization: Bearer <token>)."
        if error.status == httpx.codes.UNAUTHORIZED and advice not in first:
            rest.append(f"  {advice}")
        return RegistryError("\n".join([first, *rest]), error.problem, is_transient=error.is_transient)
