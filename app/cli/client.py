"""The registry as the command line talks to it: over HTTP, like any vendor and any orchestrator."""

import httpx

from app import client
from app.client import RegistryError
from app.client.core import PATIENCE_SECONDS, Call
from app.settings import ClientSettings


class Registry(client.Registry):
    """A registry with the settings of the environment; what it refuses is said with what to do."""

    def __init__(
        self,
        settings: ClientSettings,
        transport: httpx.BaseTransport | None = None,
        called: str = "REGISTRY_URL says where the registry is",
        token_variable: str = "REGISTRY_TOKEN",  # noqa: S107 (the name of a variable)
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        """called, token_variable: what a user is told who does not reach it, and where the token of one refused is."""
        # A variable that is set to nothing holds no token.
        token = (settings.token.get_secret_value() if settings.token is not None else "").strip() or None
        if token is not None and not (token.isascii() and token.isprintable()):
            message = f"{token_variable} holds no token: one has visible ASCII characters alone"
            raise RegistryError(message)
        try:
            super().__init__(settings.url, token, patience=patience, transport=transport)
        except httpx.InvalidURL as error:
            message = f"{settings.url} is no address: {error} ({called})"
            raise RegistryError(message) from error
        self._called = called
        self._token_variable = token_variable

    def _send(self, call: Call) -> httpx.Response:
        try:
            return super()._send(call)
        except RegistryError as error:
            raise self._with_advice(error) from error

    def _with_advice(self, error: RegistryError) -> RegistryError:
        """Return the error with what to do, in the words of the command line."""
        first, *rest = str(error).split("\n")
        if error.problem is None:
            first += f" ({self._called})"
        elif error.problem.get("code") == "evolution-gate":
            first += " (here --override <reason>)"
        elif error.problem.get("code") == "unknown-vendor":
            rest.append("  an admin registers it: PUT /vendors/<vendor>")
        if error.status == httpx.codes.UNAUTHORIZED:
            rest.append(f"  {self._token_variable} holds the token")
        return RegistryError("\n".join([first, *rest]), error.problem, may_pass=error.may_pass)
