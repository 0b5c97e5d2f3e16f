"""The client, sync and async."""

from collections.abc import AsyncIterator, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import httpx
from tenacity import AsyncRetrying, Retrying

from app.api.wire.compatibility import Answer, Question
from app.client import core
from app.client.core import PATIENCE_SECONDS, TIMEOUT_SECONDS, Call, Core, Parameter, RegistryError


def _question(question: Question | Mapping[str, Any], parameters: Mapping[str, Parameter]) -> Call:
    document = question.model_dump(mode="json", exclude_unset=True) if isinstance(question, Question) else question
    return Call("POST", "/compatibility", parameters, document)


class Registry:
    """A registry at a URL. Any number of threads may use it.

    Every method raises RegistryError: the registry cannot be reached, or it refused. What it cannot answer for now
    (503) is asked again, for as long as the patience lasts. What is read is kept: asked again, it costs a 304.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        patience: float = PATIENCE_SECONDS,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """token: to write with, or to read a registry that is closed. patience: in seconds; 0: tried once alone."""
        self._core = Core(url, token)
        self._patience = patience
        self._http = httpx.Client(
            base_url=url, headers=self._core.headers, timeout=TIMEOUT_SECONDS, transport=transport
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
        """Return where devices may go, and why not elsewhere."""
        return Answer.model_validate_json(self._send(_question(question, {})).content)

    def get(self, path: str, **parameters: Parameter) -> Any:
        """Return what is at a path."""
        return core.read(self._send(core.get(path, parameters)))

    def text(self, path: str, kind: str, **parameters: Parameter) -> str:
        """Return what is at a path as text of a kind (a media type)."""
        return self._send(core.get(path, parameters, kind)).text

    def find(self, path: str, **parameters: Parameter) -> Any:
        """Return what is at a path, None if the registry has no such thing."""
        try:
            return self.get(path, **parameters)
        except RegistryError as error:
            if error.status == httpx.codes.NOT_FOUND:
                return None
            raise

    def items(self, path: str, **parameters: Parameter) -> Iterator[Any]:
        """Iterate over a list, page by page."""
        cursor: dict[str, str] = {}
        while True:
            page = self.get(path, limit=core.PAGE, **parameters, **cursor)
            yield from page["items"]
            if page["next"] is None:
                return
            cursor = {"cursor": page["next"]}

    def put(self, path: str, document: Mapping[str, Any], *, dry_run: bool = False, override: str | None = None) -> Any:
        """Publish a document; override: why a release may break earlier ones."""
        return core.read(self._send(core.put(path, document, dry_run=dry_run, override=override)))

    def post(self, path: str, document: Mapping[str, Any], **parameters: Parameter) -> Any:
        """Ask a question, or have something made."""
        return core.read(self._send(Call("POST", path, parameters, document)))

    def delete(self, path: str) -> None:
        """Delete what is at a path."""
        self._send(Call("DELETE", path))

    def _send(self, call: Call) -> httpx.Response:
        return Retrying(**core.persistence(call, self._patience))(self._send_once, call)

    def _send_once(self, call: Call) -> httpx.Response:
        try:
            response = self._http.request(**self._core.request(call))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._core.unreachable(error) from error
        return self._core.response(call, response)


class AsyncRegistry:
    """The same as Registry, for a program with an event loop."""

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        patience: float = PATIENCE_SECONDS,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """token: to write with, or to read a registry that is closed. patience: in seconds; 0: tried once alone."""
        self._core = Core(url, token)
        self._patience = patience
        self._http = httpx.AsyncClient(
            base_url=url, headers=self._core.headers, timeout=TIMEOUT_SECONDS, transport=transport
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
        """Return where devices may go, and why not elsewhere."""
        return Answer.model_validate_json((await self._send(_question(question, {}))).content)

    async def get(self, path: str, **parameters: Parameter) -> Any:
        """Return what is at a path."""
        return core.read(await self._send(core.get(path, parameters)))

    async def text(self, path: str, kind: str, **parameters: Parameter) -> str:
        """Return what is at a path as text of a kind (a media type)."""
        return (await self._send(core.get(path, parameters, kind))).text

    async def find(self, path: str, **parameters: Parameter) -> Any:
        """Return what is at a path, None if the registry has no such thing."""
        try:
            return await self.get(path, **parameters)
        except RegistryError as error:
            if error.status == httpx.codes.NOT_FOUND:
                return None
            raise

    async def items(self, path: str, **parameters: Parameter) -> AsyncIterator[Any]:
        """Iterate over a list, page by page."""
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
        """Publish a document; override: why a release may break earlier ones."""
        return core.read(await self._send(core.put(path, document, dry_run=dry_run, override=override)))

    async def post(self, path: str, document: Mapping[str, Any], **parameters: Parameter) -> Any:
        """Ask a question, or have something made."""
        return core.read(await self._send(Call("POST", path, parameters, document)))

    async def delete(self, path: str) -> None:
        """Delete what is at a path."""
        await self._send(Call("DELETE", path))

    async def _send(self, call: Call) -> httpx.Response:
        return await AsyncRetrying(**core.persistence(call, self._patience))(self._send_once, call)

    async def _send_once(self, call: Call) -> httpx.Response:
        try:
            response = await self._http.request(**self._core.request(call))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._core.unreachable(error) from error
        return self._core.response(call, response)
