"""Placement's HTTP API, as far as the traits of resource providers need it."""

import argparse
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import httpx

from app.adapters.trait import PREFIX

# For the answer to one request.
REQUEST_SECONDS = 30.0
# Nested providers have a root since 1.14, providers are filtered by traits since 1.18: Queens (2018) has both.
_MICROVERSION = "1.18"
# What a trait that is written tells of what was read before: two writers at the same moment, of whom one gets 500
# instead of 409, because Placement does not expect it here; a trait, or the provider, that was deleted meanwhile.
_OUTDATED = (
    httpx.codes.CONFLICT,
    httpx.codes.INTERNAL_SERVER_ERROR,
    httpx.codes.BAD_REQUEST,
    httpx.codes.NOT_FOUND,
)


class PlacementError(Exception):
    """Placement cannot be reached, or refused a request; the message says why."""


class OutdatedError(PlacementError):
    """A provider has changed since it was read: read it again."""


class Session(Protocol):
    """What sends requests to Placement: an Adapter of keystoneauth1."""

    def request(self, url: str, method: str, **options: Any) -> Any:
        """Send a request; return the response."""


@dataclass(frozen=True, slots=True)
class Provider:
    """A resource provider. root: the uuid of the provider at the top of its tree, which can be itself."""

    uuid: str
    name: str
    generation: int
    root: str

    @property
    def is_root(self) -> bool:
        """Return whether the provider is at the top of its tree, as a compute node is."""
        return self.uuid == self.root


class Placement:
    """A Placement. Every method raises PlacementError if it cannot be reached, or refuses the request."""

    def __init__(self, session: Session) -> None:
        """session: it signs in, and sends the microversion 1.18."""
        self._session = session
        self._existing: set[str] = set()

    def providers(self) -> Sequence[Provider]:
        """Return all resource providers."""
        return _providers(self._send("GET", "/resource_providers"))

    def providers_with(self, trait: str) -> Sequence[Provider]:
        """Return the resource providers that have a trait; none if the trait does not exist."""
        response = self._send("GET", f"/resource_providers?required={trait}", expected=(httpx.codes.BAD_REQUEST,))
        return () if response.status_code == httpx.codes.BAD_REQUEST else _providers(response)

    def existing_traits(self) -> Collection[str]:
        """Return all traits with our prefix, whether a provider has them or not."""
        self._existing = set(_json(self._send("GET", f"/traits?name=startswith:{PREFIX}"))["traits"])
        return frozenset(self._existing)

    def create(self, traits: Collection[str]) -> None:
        """Create the custom traits that do not exist yet."""
        for trait in sorted(set(traits) - self._existing):
            self._send("PUT", f"/traits/{trait}")
            self._existing.add(trait)

    def traits_of(self, provider: Provider) -> tuple[int, frozenset[str]] | None:
        """Return the generation of a provider and its traits; None if the provider is gone."""
        response = self._send("GET", _traits_of(provider), expected=(httpx.codes.NOT_FOUND,))
        if response.status_code == httpx.codes.NOT_FOUND:
            return None
        document = _json(response)
        return document["resource_provider_generation"], frozenset(document["traits"])

    def replace(self, provider: Provider, generation: int, traits: Collection[str]) -> int:
        """Replace the traits of a provider; return its new generation.

        generation: the one that its traits were read with. Raises OutdatedError if it has changed since.
        """
        document = {"resource_provider_generation": generation, "traits": sorted(traits)}
        response = self._send("PUT", _traits_of(provider), document, expected=_OUTDATED)
        if response.status_code in _OUTDATED:
            self._existing.clear()
            message = f"{provider.name}: {_refusal(response)}"
            raise OutdatedError(message)
        changed: int = _json(response)["resource_provider_generation"]
        return changed

    def _send(self, method: str, path: str, document: object = None, expected: Collection[int] = ()) -> Any:
        """Return the response to a request; expected: statuses of errors that are returned, too."""
        body = {} if document is None else {"json": document}
        try:
            response = self._session.request(path, method, raise_exc=False, **body)
        except Exception as error:
            # Each way to sign in has errors of its own.
            message = f"Placement cannot be reached: {error}"
            raise PlacementError(message) from error
        if response.status_code >= httpx.codes.BAD_REQUEST and response.status_code not in expected:
            raise PlacementError(_refusal(response))
        return response


def connect(seconds: float = REQUEST_SECONDS) -> Placement:
    """Return the Placement of the environment: the variables OS_… that OpenStack's commands read.

    seconds: how long to wait for an answer. It needs the package keystoneauth1, the extra `placement`. Raises
    PlacementError without it, and where a variable is missing.
    """
    try:
        # Only this adapter needs it.
        from keystoneauth1 import adapter, loading  # noqa: PLC0415
    except ImportError as error:
        message = "keystoneauth1 is not installed: pip install 'device-profile-registry[placement]'"
        raise PlacementError(message) from error
    # The options of OpenStack's commands take their defaults from the environment.
    parser = argparse.ArgumentParser()
    try:
        loading.register_auth_argparse_arguments(parser, [], default="password")
        loading.register_session_argparse_arguments(parser)
        loading.register_adapter_argparse_arguments(parser, service_type="placement")
        arguments = parser.parse_args([])
        arguments.timeout = seconds
        auth = loading.load_auth_from_argparse_arguments(arguments)
        session = loading.load_session_from_argparse_arguments(arguments, auth=auth)
    except Exception as error:
        message = f"the variables OS_… do not say how to sign in: {error}"
        raise PlacementError(message) from error
    return Placement(
        adapter.Adapter(
            session,
            service_type=arguments.os_service_type,
            interface=arguments.os_interface,
            region_name=arguments.os_region_name,
            endpoint_override=arguments.os_endpoint_override,
            default_microversion=_MICROVERSION,
        )
    )


def _traits_of(provider: Provider) -> str:
    return f"/resource_providers/{provider.uuid}/traits"


def _providers(response: Any) -> Sequence[Provider]:
    return [
        Provider(item["uuid"], item["name"], item["generation"], item["root_provider_uuid"])
        for item in _json(response)["resource_providers"]
    ]


def _json(response: Any) -> Any:
    try:
        return response.json()
    except ValueError as error:
        message = f"Placement did not answer with JSON, but with {response.text[:100]!r}"
        raise PlacementError(message) from error


def _refusal(response: Any) -> str:
    """Return what an answer with an error says, on one line."""
    try:
        detail = response.json()["errors"][0]["detail"]
    except (ValueError, LookupError, TypeError):
        detail = response.text[:200]
    return f"Placement answered {response.status_code}: {' '.join(str(detail).split()) or 'no message'}"
