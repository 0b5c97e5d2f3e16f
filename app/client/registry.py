"""The sync and the async client."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import httpx

from app.wire.compatibility import Answer, Question

from . import core
from .core import (
    PAGE,
    RETRY_SECONDS,
    TIMEOUT_SECONDS,
    Call,
    Core,
    Parameter,
    Position,
    Received,
    RegistryError,
    Retries,
)

if TYPE_CHECKING:
    from app.signing.checkpoint import Checkpoint


def _question(question: Question | Mapping[str, Any], parameters: Mapping[str, Parameter]) -> Call:
    document = question.model_dump(mode="json", exclude_unset=True) if isinstance(question, Question) else question
    return Call("POST", "/compatibility", parameters, document)


class Registry:
    """A registry at a URL; safe to share between threads.

    Every method raises RegistryError if the registry cannot be reached or refuses the request. Requests are retried
    for retry_seconds while the registry cannot answer (503). Reads are cached by ETag: a repeated read costs a 304.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        retry_seconds: float = RETRY_SECONDS,
        timeout_seconds: float = TIMEOUT_SECONDS,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """token: needed to write, or to read a closed registry. retry_seconds: 0 means a single attempt.

        timeout_seconds: how long to wait for a connection, and for each part of a response.
        """
        self._core = Core(url, token)
        self._retry_seconds = retry_seconds
        self._http = httpx.Client(
            base_url=url, headers=self._core.headers, timeout=timeout_seconds, transport=transport
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def ask(self, question: Question | Mapping[str, Any]) -> Answer:
        """Return where devices can move, and the problems elsewhere."""
        return Answer.model_validate_json(self._send(_question(question, {})).content)

    def get(self, path: str, **parameters: Parameter) -> Any:
        """Return the JSON document at a path."""
        return core.read(self._send(core.get(path, parameters)))

    def text(self, path: str, kind: str, **parameters: Parameter) -> str:
        """Return the resource at a path as text; kind: the media type."""
        return self._send(core.get(path, parameters, kind)).text

    def checkpoint(self, trust: Sequence[str], *, after: Position | None = None) -> "Checkpoint":
        """Return the signed head of the feed, verified: one of the trusted public keys must have signed it.

        after: an answer, or a checkpoint that was verified before; the feed must lead from there to the head. Raises
        RegistryError if it does not, if the head is older, and for an unsigned registry. It needs the package
        cryptography (the extra `trust`).
        """
        checkpoint = core.verified(self.text("/checkpoint", "text/plain"), trust)
        if after is not None:
            registry = self.get("/changes", limit=1)["registry"]
            core.check_history(after, registry, self._entries(after.seq, checkpoint.seq), checkpoint)
        return checkpoint

    def _entries(self, after: int, until: int) -> Iterator[Mapping[str, Any]]:
        """Iterate over the entries of the feed after a seq, until another one."""
        while after < until and (page := self.get("/changes", after=after, limit=PAGE)["items"]):
            yield from page
            after = page[-1]["seq"]

    def find(self, path: str, **parameters: Parameter) -> Any:
        """Return the JSON document at a path, None if it does not exist (404)."""
        try:
            return self.get(path, **parameters)
        except RegistryError as error:
            if error.status == httpx.codes.NOT_FOUND:
                return None
            raise

    def items(self, path: str, **parameters: Parameter) -> Iterator[Any]:
        """Iterate over a list resource, page by page."""
        cursor: dict[str, str] = {}
        while True:
            page = self.get(path, limit=core.PAGE, **parameters, **cursor)
            yield from page["items"]
            if page["next"] is None:
                return
            cursor = {"cursor": page["next"]}

    def put(self, path: str, document: Mapping[str, Any], *, dry_run: bool = False, override: str | None = None) -> Any:
        """Publish a document; override: the reason to publish a release that breaks earlier ones."""
        return core.read(self._send(core.put(path, document, dry_run=dry_run, override=override)))

    def post(self, path: str, document: Mapping[str, Any], **parameters: Parameter) -> Any:
        """Ask a question, or create something."""
        return core.read(self._send(Call("POST", path, parameters, document)))

    def patch(self, path: str, document: Mapping[str, Any], **parameters: Parameter) -> Any:
        """Change the state of a resource."""
        return core.read(self._send(Call("PATCH", path, parameters, document)))

    def delete(self, path: str) -> None:
        """Delete the resource at a path."""
        self._send(Call("DELETE", path))

    def _send(self, call: Call) -> httpx.Response:
        if (cached := self._core.immutable(call)) is not None:
            return cached
        retries = Retries(call, self._retry_seconds)
        while True:
            try:
                return self._send_once(call)
            except RegistryError as error:
                time.sleep(retries.pause(error))

    def _send_once(self, call: Call) -> httpx.Response:
        received = Received(call)
        try:
            with self._http.stream(**self._core.request(call)) as response:
                if received.begin(response):
                    for chunk in response.iter_raw():
                        received.add(chunk)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._core.unreachable(error) from error
        return self._core.response(call, received.whole(response))


class AsyncRegistry:
    """The async counterpart of Registry, for a program with an event loop."""

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        retry_seconds: float = RETRY_SECONDS,
        timeout_seconds: float = TIMEOUT_SECONDS,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """token: needed to write, or to read a closed registry. retry_seconds: 0 means a single attempt.

        timeout_seconds: how long to wait for a connection, and for each part of a response.
        """
        self._core = Core(url, token)
        self._retry_seconds = retry_seconds
        self._http = httpx.AsyncClient(
            base_url=url, headers=self._core.headers, timeout=timeout_seconds, transport=transport
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def ask(self, question: Question | Mapping[str, Any]) -> Answer:
        """Return where devices can move, and the problems elsewhere."""
        return Answer.model_validate_json((await self._send(_question(question, {}))).content)

    async def get(self, path: str, **parameters: Parameter) -> Any:
        """Return the JSON document at a path."""
        return core.read(await self._send(core.get(path, parameters)))

    async def text(self, path: str, kind: str, **parameters: Parameter) -> str:
        """Return the resource at a path as text; kind: the media type."""
        return (await self._send(core.get(path, parameters, kind))).text

    async def checkpoint(self, trust: Sequence[str], *, after: Position | None = None) -> "Checkpoint":
        """Return the signed head of the feed, verified: one of the trusted public keys must have signed it.

        after: an answer, or a checkpoint that was verified before; the feed must lead from there to the head. Raises
        RegistryError if it does not, if the head is older, and for an unsigned registry. It needs the package
        cryptography (the extra `trust`).
        """
        checkpoint = core.verified(await self.text("/checkpoint", "text/plain"), trust)
        if after is not None:
            registry = (await self.get("/changes", limit=1))["registry"]
            entries = [entry async for entry in self._entries(after.seq, checkpoint.seq)]
            core.check_history(after, registry, entries, checkpoint)
        return checkpoint

    async def _entries(self, after: int, until: int) -> AsyncIterator[Mapping[str, Any]]:
        """Iterate over the entries of the feed after a seq, until another one."""
        while after < until and (page := (await self.get("/changes", after=after, limit=PAGE))["items"]):
            for entry in page:
                yield entry
            after = page[-1]["seq"]

    async def find(self, path: str, **parameters: Parameter) -> Any:
        """Return the JSON document at a path, None if it does not exist (404)."""
        try:
            return await self.get(path, **parameters)
        except RegistryError as error:
            if error.status == httpx.codes.NOT_FOUND:
                return None
            raise

    async def items(self, path: str, **parameters: Parameter) -> AsyncIterator[Any]:
        """Iterate over a list resource, page by page."""
        cursor: dict[str, str] = {}
        while True:
            page = await self.get(path, limit=core.PAGE, **parameters, **cursor)
            for item in page["items"]:
                yield item
            if page["next"] is None:
                return
            cursor = {"cursor": page["next"]}

    async def put(
        self, path: str, document: Mapping[str, Any], *, dry_run: bool = False, override: str | None = None
    ) -> Any:
        """Publish a document; override: the reason to publish a release that breaks earlier ones."""
        return core.read(await self._send(core.put(path, document, dry_run=dry_run, override=override)))

    async def post(self, path: str, document: Mapping[str, Any], **parameters: Parameter) -> Any:
        """Ask a question, or create something."""
        return core.read(await self._send(Call("POST", path, parameters, document)))

    async def patch(self, path: str, document: Mapping[str, Any], **parameters: Parameter) -> Any:
        """Change the state of a resource."""
        return core.read(await self._send(Call("PATCH", path, parameters, document)))

    async def delete(self, path: str) -> None:
        """Delete the resource at a path."""
        await self._send(Call("DELETE", path))

    async def _send(self, call: Call) -> httpx.Response:
        if (cached := self._core.immutable(call)) is not None:
            return cached
        retries = Retries(call, self._retry_seconds)
        while True:
            try:
                return await self._send_once(call)
            except RegistryError as error:
                await asyncio.sleep(retries.pause(error))

    async def _send_once(self, call: Call) -> httpx.Response:
        received = Received(call)
        try:
            async with self._http.stream(**self._core.request(call)) as response:
                if received.begin(response):
                    async for chunk in response.aiter_raw():
                        received.add(chunk)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._core.unreachable(error) from error
        return self._core.response(call, received.whole(response))
