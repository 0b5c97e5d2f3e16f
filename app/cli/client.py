"""The command line's client of the registry: over HTTP, as for any vendor and orchestrator."""

from collections.abc import Mapping, Sequence
from typing import Any

import httpx
from pydantic import SecretStr

from app import client
from app.client import RegistryError
from app.client.core import RETRY_SECONDS, TIMEOUT_SECONDS, Call
from app.settings import ClientSettings
from app.signing.envelope import Subject, sign
from app.signing.key import PrivateKey
from app.wire.base import without_credentials

# What commands need of a registry, behind one module that is loaded when it is used.
__all__ = ["ClientSettings", "Registry", "RegistryError", "help_address", "settings_of"]

_NO_TYPE = "about:blank"


class Registry(client.Registry):
    """A registry configured from the environment; its errors name the next step on the command line."""

    def __init__(  # noqa: PLR0913 (each is a setting of its own)
        self,
        settings: ClientSettings | None = None,
        transport: httpx.BaseTransport | None = None,
        address_hint: str = "REGISTRY_URL sets the registry's address",
        token_variable: str = "REGISTRY_TOKEN",  # noqa: S107 (the name of a variable)
        retry_seconds: float = RETRY_SECONDS,
        *,
        signing_keys: Sequence[PrivateKey] = (),
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        """settings: those of the environment by default; address_hint: the advice if the registry cannot be reached.

        token_variable: the variable with the token. signing_keys: sign the releases that are published.
        """
        settings = settings or ClientSettings()
        # An empty environment variable means no token.
        token = (settings.token.get_secret_value() if settings.token is not None else "").strip() or None
        if token is not None and not (token.isascii() and token.isprintable()):
            message = f"{token_variable} must contain only visible ASCII characters"
            raise RegistryError(message)
        try:
            super().__init__(
                settings.url, token, retry_seconds=retry_seconds, timeout_seconds=timeout_seconds, transport=transport
            )
        except httpx.InvalidURL as error:
            # The error quotes parts of the address, which can be those of a password.
            why = "" if "@" in settings.url else f": {error}"
            message = f"{without_credentials(settings.url)} is not a valid URL{why} ({address_hint})"
            raise RegistryError(message) from error
        self.url = settings.url
        self._address_hint = address_hint
        self._token_variable = token_variable
        self._signing_keys = signing_keys

    def is_published(self, release: str) -> bool:
        """Return whether a release is published."""
        return self.find(f"/releases/{release}") is not None

    def publish_release(
        self, release: str, document: Mapping[str, Any], *, dry_run: bool = False, override: str | None = None
    ) -> Any:
        """Publish a release, signed if there are keys to sign with; override: the reason to break earlier ones."""
        keys = self._signing_keys
        body = sign(Subject.RELEASE, release, document, keys) if keys else document
        return self.put(f"/releases/{release}", body, dry_run=dry_run, override=override)

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
            rest.append(
                "  Ask an admin to register it: profile-registry vendor create <vendor> (HTTP: PUT /vendors/<vendor>)"
            )
        advice = f"Not signed in: set {self._token_variable} (HTTP: Authorization: Bearer <token>)."
        if error.status == httpx.codes.UNAUTHORIZED and advice not in first:
            rest.append(f"  {advice}")
        if error.problem is not None and (address := help_address(self.url, error.problem)) is not None:
            rest.append(f"Help: {address}")
        return RegistryError("\n".join([first, *rest]), error.problem, is_transient=error.is_transient)


def settings_of(url: str, token: str | None) -> ClientSettings:
    """Return the settings for another registry than that of the environment."""
    return ClientSettings(url=url, token=SecretStr(token) if token else None)


def help_address(url: str, problem: Mapping[str, Any]) -> str | None:
    """Return the address of the page about a problem, None if the registry at the URL has none (RFC 9457, 3.1.1)."""
    kind = problem.get("type", _NO_TYPE)
    if not isinstance(kind, str) or kind == _NO_TYPE:
        return None
    # A registry can lie below a path, which its absolute paths do not have.
    return f"{without_credentials(url).rstrip('/')}{kind}" if kind.startswith("/") else kind
