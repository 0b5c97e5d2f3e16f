"""Records the answers of the documentation: `python -m tests.api.recorder` writes them, a test compares them.

Every operation is asked in the running service, on the sample of `make run`: each example, and one request per error.
What differs each time (times, ids, links, tokens) is replaced, and long lists are cut.
"""

import json
import re
import socket
import tempfile
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import httpx
import httpx2
from fastapi.testclient import TestClient
from pydantic import SecretStr

from app.api import examples
from app.api.connection import Connection
from app.api.container import Container
from app.api.documentation import ANSWERS
from app.cli.client import Registry as CommandLineRegistry
from app.cli.demonstration import publish_sample
from app.domain.publishing.change import LINKED, linked
from app.domain.values.canonical import canonical_json, digest
from app.settings import ClientSettings
from app.signing.checkpoint import Checkpoint
from app.signing.key import PrivateKey
from app.storage import database
from tests.api.serving import served
from tests.conftest import AUTHORIZATION, TOKEN, make_app
from tests.issuer import OTHER_RSA, Issuer, running_issuer

# Publish first, then read, then delete; otherwise in the order of the document.
_TURNS = {"put": 0, "post": 1, "get": 2, "patch": 3, "delete": 4}
# A vendor comes before its releases, and they come before its profiles.
_FIRST = ["put_vendor", "put_vendor_key", "put_release", "post_variable_set", "post_profile"]
# The id of a token is not known in advance, nor is the OIDC token of a run.
WITHOUT_EXAMPLE = {"revoke_token", "exchange_token"}
_JSON = "application/json"
_SEED = bytes(32)
_TOKEN_ID = "5c1e9a7b3d20"  # noqa: S105 (an id, no secret)
# Nobody listens there.
_UNREACHABLE = "postgresql://127.0.0.1:1/none"

_ITEMS, _ENTRIES, _LINES = 2, 3, 4
# Objects whose names somebody has published, so that some of them are enough.
_BY_NAME = {
    "aliases", "configuration", "contents", "domains", "models", "other_variables", "own_values", "values", "variables",
}  # fmt: skip
_LINK = "sha256:6dc3d3f92994837a4de4ac54df942a52455a5c5e3e4bc67dbbb99062b29c27e0"
_NESTED = {"own_values", "values"}
_FIXED = {
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z": "2026-11-23T12:00:00.000Z",
    r'(?<="link": ")sha256:[0-9a-f]+': _LINK,
    r'(?<="link":")sha256:[0-9a-f]+': _LINK,
    r'(?<="token": ")dpr_[^"]+': "dpr_k3vX0yq4m2uS8cJ1oZ5tB7nR9wE6aL_hGfDdYpQiVxM",
    r"(?<=request id )[0-9a-f]+": "0b7f3c1de5a94c62a1f08d7b6e2c4913",
    "(?<=takes more than )1 steps": "700,000 steps",
    r"(?<=can be sent in )\d+ seconds": "30 seconds",
    r"(?<=valid only in )[\d,]+ seconds": "1,000 seconds",
    r"(?<=expired )[\d,]+ seconds": "1,000 seconds",
}

Answers = dict[str, Any]


@dataclass(frozen=True)
class Operation:
    """An operation of the document."""

    method: str
    path: str
    described: Mapping[str, Any]

    @property
    def id(self) -> str:
        """Its name."""
        return str(self.described["operationId"])

    def requests(self) -> Iterator[tuple[str, dict[str, Any], Any]]:
        """Iterate over its examples: their names, parameters and bodies."""
        content = self.described.get("requestBody", {}).get("content", {}).get(_JSON, {})
        bodies = {name: example["value"] for name, example in content.get("examples", {}).items()}
        assert bodies or not content, "a body has no example"
        for place, (name, body) in enumerate(bodies.items() or [("in-the-sample", None)]):
            parameters = {}
            for parameter in self.described.get("parameters", ()):
                values = [example["value"] for example in parameter.get("examples", {}).values()]
                if values:
                    parameters[parameter["name"]] = values[min(place, len(values) - 1)]
            yield name, parameters, body

    def send(
        self, client: httpx2.Client | httpx.Client, parameters: Mapping[str, Any], body: Any = None, **more: Any
    ) -> Any:
        """Send a request of it."""
        in_path = {name for name in parameters if f"{{{name}}}" in self.path}
        query = {name: value for name, value in parameters.items() if name not in in_path}
        assert len(in_path) == self.path.count("{"), f"{self.id} has no example of its path"
        if body is not None:
            more = {"json": body, **more}
        return client.request(self.method.upper(), self.path.format(**parameters), params=query, **more)


def responses(document: Mapping[str, Any], operation: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the responses of an operation by status, also those that several operations share."""
    shared = document["components"].get("responses", {})
    return {
        status: shared[response["$ref"].rpartition("/")[2]] if "$ref" in response else response
        for status, response in operation["responses"].items()
    }


def operations(document: Mapping[str, Any]) -> dict[str, Operation]:
    """Return the operations of a document by their ids, in an order in which their examples succeed."""
    listed = [
        Operation(method, path, {**operation, "responses": responses(document, operation)})
        for path, described in document["paths"].items()
        for method, operation in described.items()
    ]
    listed.sort(
        key=lambda operation: (
            _FIRST.index(operation.id) if operation.id in _FIRST else len(_FIRST),
            _TURNS[operation.method],
        )
    )
    return {operation.id: operation for operation in listed}


def shortened(value: Any, name: str = "") -> Any:
    """Return an answer with the first entries of its lists, and of its objects by published names."""
    if isinstance(value, list):
        return [shortened(item) for item in value[:_ITEMS]]
    if not isinstance(value, dict):
        return value
    entries = list(value.items())
    if name in _BY_NAME:
        entries = entries[:_ENTRIES]
    # Below the names of models and profiles are variables.
    return {key: shortened(entry, name if name in _NESTED and "/" in key else key) for key, entry in entries}


@dataclass
class Recorder:
    """Keeps the answers of operations. replaced: texts that differ each time, and what stands for them."""

    operations: Mapping[str, Operation]
    answers: Answers = field(default_factory=lambda: {"operations": {}, "anywhere": {}})
    replaced: dict[str, str] = field(default_factory=dict)

    def keep(self, operation: str, response: Any, name: str) -> None:
        """Keep the answer of an operation."""
        if not response.content:
            return
        media_type = response.headers["content-type"].partition(";")[0]
        by_status = self.answers["operations"].setdefault(operation, {})
        by_name = by_status.setdefault(str(response.status_code), {}).setdefault(media_type, {})
        by_name.setdefault(name, self.steady(response))

    def keep_error(self, operation: str, response: Any) -> None:
        """Keep an error of an operation by its code; `anywhere`: of any operation."""
        body = response.json()
        if operation == "anywhere":
            self.answers["anywhere"].setdefault(body["code"], self.steady(response))
        else:
            self.keep(operation, response, body["code"])

    def steady(self, response: Any) -> Any:
        """Return an answer as it is each time."""
        is_json = response.headers["content-type"].endswith("json")
        text = json.dumps(response.json()) if is_json else response.text
        for pattern, replacement in _FIXED.items():
            text = re.sub(pattern, replacement, text)
        for given, replacement in self.replaced.items():
            text = text.replace(given, replacement)
        return shortened(json.loads(text)) if is_json else text


def record(database_url: str, document: Mapping[str, Any]) -> Answers:
    """Return the answers of all operations of a document, from a service on an empty database.

    Every example is sent as it is, and has to succeed.
    """
    recorder = Recorder(operations(document))
    with ExitStack() as stack:
        key = PrivateKey("registry.example", _SEED).text()
        app = make_app(database_url, signing_key=key)
        address = stack.enter_context(served(app))
        registry = stack.enter_context(httpx.Client(base_url=address, headers=AUTHORIZATION))
        with CommandLineRegistry(ClientSettings(url=address, token=SecretStr(TOKEN))) as client:
            publish_sample(client)
        recorder.replaced[registry.get("/keys").json()["registry"]] = "8d0f6c3e-2b5a-4f17-9c64-0a1b2c3d4e5f"
        _record_examples(recorder, registry)
        _record_other_media_types(recorder, registry)
        issuer = stack.enter_context(running_issuer())
        _record_exchange(recorder, registry, issuer)
        _record_issuer_without_keys(recorder, database_url)
        _record_refusals(recorder, registry, database_url)
        _record_conflicts(recorder, registry)
        _record_unknown_names(recorder, registry, database_url)
    _record_quota(recorder, database_url)
    _record_anywhere(recorder, database_url)
    return recorder.answers


def _record_examples(recorder: Recorder, registry: httpx.Client) -> None:
    wrong = {}
    for operation in recorder.operations.values():
        if operation.id in WITHOUT_EXAMPLE:
            continue
        for name, parameters, body in operation.requests():
            response = operation.send(registry, parameters, body)
            if not response.is_success:
                wrong[operation.id, name] = response.text
            if operation.id == "post_token":
                recorder.replaced[response.json()["id"]] = _TOKEN_ID
            recorder.keep(operation.id, response, name)
            # What has answered 201 can answer 200: nothing was added.
            if "200" in operation.described["responses"] and response.status_code == httpx.codes.CREATED:
                again = operation.send(registry, parameters, body)
                assert again.status_code == httpx.codes.OK, (operation.id, again.text)
                recorder.keep(operation.id, again, name)
    assert wrong == {}
    # The host of the example is one of the sample.
    recorder.keep("put_registered_host", registry.put("/hosts/host-99", json=examples.HOST), "a-host")
    registry.delete("/hosts/host-99")


def _record_other_media_types(recorder: Recorder, registry: httpx.Client) -> None:
    matrix = recorder.operations["get_support_matrix"]
    _, parameters, _ = next(matrix.requests())
    recorder.keep(matrix.id, matrix.send(registry, parameters, headers={"Accept": "text/csv"}), "in-the-sample")
    of_hosts = {name: parameters[name] for name in ("profile", "model")} | {"label": ["rack=r1"]}
    recorder.keep(matrix.id, matrix.send(registry, of_hosts), "kinds-of-hosts")
    with registry.stream("GET", "/changes", headers={"Accept": "text/event-stream"}) as stream:
        lines = []
        for line in stream.iter_lines():
            lines.append(f"{line}\n")
            if line == "" and lines.count("\n") == _ITEMS:
                break
        read = httpx.Response(stream.status_code, headers=stream.headers, text="".join(lines))
    recorder.keep("list_changes", read, "in-the-sample")
    # The signature of a head is that of its link.
    by_name = recorder.answers["operations"]["get_checkpoint"]["200"]["text/plain"]
    name, seq, *_ = by_name["in-the-sample"].splitlines()
    by_name["in-the-sample"] = Checkpoint.of(name, int(seq), _LINK).signed([PrivateKey(name, _SEED)])
    # Of the metrics a few lines, which do not depend on what was asked before.
    answer = registry.get("/metrics")
    lines = [line for line in answer.text.splitlines(keepends=True) if "profile_registry_long_questions" in line]
    by_name = recorder.answers["operations"]["get_metrics"]["200"]["text/plain"]
    by_name["in-the-sample"] = re.sub(r"\d+\.\d+$", "0.0", "".join(lines), flags=re.MULTILINE)


_REFUSED_TOKENS: Mapping[str, Mapping[str, Any]] = {
    "unknown-issuer": {"claims": {"iss": "https://issuer.example"}},
    "unsupported-algorithm": {"header": {"alg": "HS256"}},
    "unknown-key": {"key": OTHER_RSA},
    "token-expired": {"claims": {"exp": 1_000_000_000, "iat": 999_999_900, "nbf": 999_999_900}},
    "token-not-yet-valid": {"claims": {"nbf": 4_000_000_000}},
    "wrong-audience": {"claims": {"aud": "https://other.example"}},
    "claims-not-trusted": {"claims": {"repository": "somebody/firmware"}},
}


def _record_exchange(recorder: Recorder, registry: httpx.Client, issuer: Issuer) -> None:
    def exchange(token: str) -> Any:
        return registry.post("/tokens/exchange", json={"token": token})

    recorder.replaced[issuer.url] = "https://token.actions.githubusercontent.com"
    trusted = registry.post("/trusted-publishers", json={**examples.TRUSTED_PUBLISHER, "issuer": issuer.url}).json()
    recorder.replaced[trusted["id"]] = "80b10f46d420"
    token = issuer.token()
    exchanged = exchange(token)
    recorder.replaced[exchanged.json()["id"]] = "1f4b8d3e9c27"
    recorder.keep("exchange_token", exchanged, "the-token-of-a-run")
    recorder.keep_error("exchange_token", exchange(token))
    signed, _, signature = issuer.token().rpartition(".")
    recorder.keep_error("exchange_token", exchange(f"{signed}.{signature[::-1]}"))
    with TestClient(make_app(_UNREACHABLE)) as unreachable:
        recorder.keep_error("exchange_token", unreachable.post("/tokens/exchange", json={"token": token}))
    for code, made in _REFUSED_TOKENS.items():
        if "header" in made:
            # No library signs with such an algorithm and a public key.
            _, _, rest = issuer.token().partition(".")
            refused = exchange(f"{_encoded({'alg': 'HS256', 'kid': 'rsa'})}.{rest}")
        else:
            key = {"key": made["key"]} if "key" in made else {}
            refused = exchange(issuer.token(**key, **made.get("claims", {})))
        assert refused.json()["code"] == code, refused.text
        recorder.keep_error("exchange_token", refused)


def _record_issuer_without_keys(recorder: Recorder, database_url: str) -> None:
    with running_issuer() as issuer, TestClient(make_app(database_url), headers=AUTHORIZATION) as registry:
        recorder.replaced[issuer.url] = "https://token.actions.githubusercontent.com"
        registry.post("/trusted-publishers", json={**examples.TRUSTED_PUBLISHER, "issuer": issuer.url})
        issuer.status = 500
        refused = registry.post("/tokens/exchange", json={"token": issuer.token()})
        recorder.keep_error("exchange_token", refused)


def _encoded(value: object) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@dataclass(frozen=True)
class _Registries:
    """Clients of one registry with settings of their own, without a token. publisher: the token of another vendor."""

    as_usual: TestClient
    closed: TestClient
    frugal: TestClient
    limited: TestClient
    unreachable: TestClient
    publisher: Mapping[str, str]


@contextmanager
def _registries(database_url: str, publisher: Mapping[str, str]) -> Iterator[_Registries]:
    with ExitStack() as stack:

        def client(url: str = database_url, **settings: Any) -> TestClient:
            return stack.enter_context(TestClient(make_app(url, **settings)))

        # The questions of the examples are short: they exceed a tiny budget as long ones exceed that of a registry.
        tiny = make_app(database_url)
        tiny.state.container = Container.of(tiny.state.container.settings.model_copy(update={"max_steps": 1}))
        limited = client(token_requests_per_minute=2)
        for _ in range(2):
            limited.get("/vendors", headers=AUTHORIZATION)
        frugal = stack.enter_context(TestClient(tiny))
        yield _Registries(client(), client(read="token"), frugal, limited, client(_UNREACHABLE), publisher)


def _record_refusals(recorder: Recorder, registry: httpx.Client, database_url: str) -> None:
    """Record what a client of each operation can do wrong, and what the registry can lack."""
    registry.put("/vendors/vendor-b.com", json={})
    token = registry.post("/tokens", json={"name": "b", "role": "publisher", "vendor": "vendor-b.com"}).json()
    recorder.replaced[token["id"]] = _TOKEN_ID
    with _registries(database_url, {"Authorization": f"Bearer {token['token']}"}) as registries:
        for operation in recorder.operations.values():
            for status, response in _refused(operation, registries):
                if str(status) in operation.described["responses"]:
                    assert response.status_code == status, (operation.id, status, response.text)
                    recorder.keep_error(operation.id, response)


def _first_request(operation: Operation) -> tuple[dict[str, Any], Any]:
    if operation.id == "revoke_token":
        return {"token_id": "0" * 12}, None
    _, given, body = next(operation.requests())
    return given, body


def _refused(operation: Operation, registries: _Registries) -> Iterator[tuple[int, Any]]:
    """Iterate over the statuses and answers of requests that are refused; some are no answers of the operation."""
    given, body = _first_request(operation)
    path = {name: value for name, value in given.items() if f"{{{name}}}" in operation.path}
    usual = registries.as_usual
    yield 401, operation.send(registries.closed, path, body)
    yield 429, operation.send(registries.limited, path, body, headers=AUTHORIZATION)
    if operation.id != "exchange_token":
        yield 403, operation.send(usual, path, body, headers=registries.publisher)
        yield 503, operation.send(registries.unreachable, given, body, headers=AUTHORIZATION)
    if "over-budget" in operation.described["responses"].get("422", {}).get("description", ""):
        yield 422, operation.send(registries.frugal, given, body, headers=AUTHORIZATION)
    if "412" in operation.described["responses"]:
        yield 412, operation.send(usual, path, body, headers={**AUTHORIZATION, "If-Match": '"0000"'})
    if body is None:
        wrong = {"for": "nothing"} if operation.id == "get_readiness" else {"dryrun": True}
        yield 422, operation.send(usual, {**path, **wrong}, headers=AUTHORIZATION)
        return
    as_json = {**AUTHORIZATION, "Content-Type": _JSON}
    large = {**as_json, "Content-Length": str(300 * 1024 * 1024)}
    yield 400, operation.send(usual, path, content=b'{"models": ', headers=as_json)
    yield 413, operation.send(usual, path, content=b"{}", headers=large)
    yield 415, operation.send(usual, path, content=b"{}", headers={**AUTHORIZATION, "Content-Type": "text/plain"})
    yield 422, operation.send(usual, path, {"unknown": 1}, headers=AUTHORIZATION)


_VENDOR = "unknown.example"
_KEY = PrivateKey(f"{_VENDOR}/1", _SEED).public
_NAME = f"{_VENDOR}/nothing"
_RELEASE = f"{_NAME}@1"
# What names something unknown: parameters, and a body that is another than that of the example.
_UNKNOWN: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "get_diff": [
        {"from": _RELEASE}, {"from": _NAME, "to": "qemu.org/pc-q35-7.2", "model": None}, {"model": _NAME},
    ],
    "get_support_matrix": [{"profile": [_NAME]}, {"model": [_NAME]}, {"implementation": [_NAME]}],
    "get_vendor": [{"vendor": _VENDOR}],
    "put_implementation": [{"implementation": _NAME}],
    "get_implementation": [{"implementation": _NAME}],
    "put_release": [{"release": _RELEASE}],
    "get_release": [{"release": _RELEASE}],
    "patch_release": [{"release": _RELEASE}],
    "delete_release": [{"release": _RELEASE}],
    "post_variable_set": [{"body": {"implementation": _NAME}}],
    "get_variable_set": [{"digest": f"sha256:{'0' * 64}"}],
    "get_model": [{"model": _NAME}],
    "post_profile": [{"body": {"name": _NAME}}],
    "put_profile": [{"name": _NAME}],
    "get_profile": [{"name": _NAME}],
    "patch_profile": [{"name": _NAME}],
    "delete_profile": [{"name": _NAME}],
    "get_erratum": [{"erratum": "0" * 16}],
    "patch_erratum": [{"erratum": "0" * 16}],
    "get_impact": [{"name": _RELEASE}, {"name": _NAME}],
    "get_host": [{"host": "nowhere"}],
    "forget_host": [{"host": "nowhere"}],
    "get_change": [{"seq": 1_000_000}],
    "get_mirror": [{"registry": "nowhere"}],
    "put_vendor_key": [{"vendor": _VENDOR, "key_id": _KEY.id, "body": {"key": str(_KEY)}}],
    "revoke_vendor_key": [{"key_id": "00000000"}],
    "list_vendor_keys": [{"vendor": _VENDOR}],
    "get_signature": [{"digest": f"sha256:{'0' * 64}"}],
    "post_token": [{"body": {"vendor": _VENDOR}}],
    "revoke_token": [{"token_id": "0" * 12}],
    "post_trusted_publisher": [{"body": {"vendor": _VENDOR}}],
    "delete_trusted_publisher": [{"publisher_id": "0" * 12}],
}  # fmt: skip


def _record_unknown_names(recorder: Recorder, registry: httpx.Client, database_url: str) -> None:
    for name, requests in _UNKNOWN.items():
        operation = recorder.operations[name]
        given, body = _first_request(operation)
        for more in requests:
            parameters = {key: value for key, value in {**given, **more}.items() if key != "body" and value is not None}
            changed = {**body, **more["body"]} if "body" in more else body
            response = operation.send(registry, parameters, changed)
            assert response.status_code == httpx.codes.NOT_FOUND, (name, more, response.text)
            recorder.keep_error(name, response)
    with TestClient(make_app(database_url)) as unsigned:
        recorder.keep_error("get_checkpoint", unsigned.get("/checkpoint"))


def _record_conflicts(recorder: Recorder, registry: httpx.Client) -> None:
    """Record what contradicts what the examples have published."""
    nic, firmware = examples.NIC, examples.FIRMWARE
    variables: Mapping[str, Any] = examples.RELEASE["models"][nic]["variables"]  # type: ignore[index]

    def keep(operation: str, method: str, path: str, body: Any = None) -> None:
        response = registry.request(method, path, json=body)
        assert response.status_code in {httpx.codes.CONFLICT, httpx.codes.FORBIDDEN}, (operation, path, response.text)
        recorder.keep_error(operation, response)

    def release(**changed: Any) -> Any:
        return {"models": {nic: {"variables": {**variables, **changed}}}}

    queues = variables["num-queues"]
    redefined = {"num-queues": {"type": "str", "init_value": "four"}}
    narrower = {"num-queues": {**queues, "allowed_values": ["1-3"], "init_value": 2}}
    keep("put_vendor", "PUT", "/vendors/vendor-a.com", {"name": "Another name"})
    keep("put_release", "PUT", f"/releases/{firmware}@2024.1", release(**narrower))
    keep("put_release", "PUT", f"/releases/{firmware}@2024.2", release(**redefined))
    keep("put_release", "PUT", f"/releases/{firmware}@2024.2", release(**narrower))
    one = {"model": nic, "implementation": firmware}
    for version, changed in (("2024.1", narrower), ("2024.2", redefined), ("2024.2", narrower)):
        body = {**one, "version": version, "variables": {**variables, **changed}}
        keep("post_variable_set", "POST", "/variable-sets", body)
    other = {"values": {nic: {"num-queues": 2}}}
    keep("post_profile", "POST", "/profiles", {"name": "vendor-a.com/my-nic-2024", **other})
    keep("put_profile", "PUT", "/profiles/vendor-a.com/my-nic-2024", other)
    keep("delete_release", "DELETE", f"/releases/{firmware}@2024.1")
    keep("delete_profile", "DELETE", "/profiles/vendor-a.com/my-nic-2024")
    _record_conflicts_of_drafts(recorder, registry)
    erratum = registry.post("/errata", json=examples.ERRATUM).json()["id"]
    registry.patch(f"/errata/{erratum}", json=examples.WITHDRAWN)
    keep("post_erratum", "POST", "/errata", examples.ERRATUM)
    mirrored: Mapping[str, Any] = examples.MIRRORED
    third = "/mirrors/a-third-registry/changes"
    change = mirrored["changes"][0]
    keep("post_mirrored_changes", "POST", third, {**mirrored, "changes": [{**change, "by": "somebody"}]})
    keep("post_mirrored_changes", "POST", third, {**mirrored, "changes": [{**change, "seq": 3, "part_of": 3}]})
    own = registry.get("/keys").json()["registry"]
    keep("post_mirrored_changes", "POST", f"/mirrors/{own}/changes", mirrored)
    keep("post_mirrored_changes", "POST", third, {**mirrored, **_other_profile(registry)})


def _other_profile(registry: httpx.Client) -> Mapping[str, Any]:
    """Return what a registry sends that has a profile of the examples with another value."""
    listed = registry.get("/changes", params={"vendor": "vendor-a.com", "limit": 1000}).json()["items"]
    seq = next(change["seq"] for change in listed if change["name"] == examples.PROFILE["name"])
    change = {**registry.get(f"/changes/{seq}").json(), "seq": 1, "part_of": 1}
    content = {"num-queues": 2}
    key = digest(canonical_json(content))
    change["document"] = {**change["document"], "values": {examples.NIC: key}}
    change["document_digest"] = digest(canonical_json(change["document"]))
    change["link"] = linked("a-third-registry", {name: change[name] for name in LINKED})
    del change["contents"]
    return {"changes": [change], "contents": {key: content}}


def _record_conflicts_of_drafts(recorder: Recorder, registry: httpx.Client) -> None:
    """Record what a draft contradicts that something else was published after."""
    nic, firmware = examples.NIC, examples.FIRMWARE
    variables: Mapping[str, Any] = examples.RELEASE["models"][nic]["variables"]  # type: ignore[index]

    def put(release: str, state: str, profiles: Sequence[Any] = (), **more: Any) -> None:
        models = {nic: {"variables": {**variables, **more}}}
        document = {"models": models, "profiles": ["vendor-a.com/my-nic-2023", *profiles], "state": state}
        response = registry.put(f"/releases/{release}", json=document)
        assert response.is_success, response.text

    def publish(release: str) -> None:
        response = registry.patch(f"/releases/{release}", json={"state": "published"})
        assert response.status_code == httpx.codes.CONFLICT, response.text
        recorder.keep_error("patch_release", response)

    profile = {"name": "vendor-a.com/my-nic-2027", "values": {nic: {"num-queues": 6}}}
    put(f"{firmware}@2027.1", "draft", [profile])
    put(f"{firmware}@2027.2", "draft", filter={"type": "int", "init_value": 0, "off_value": 0})
    narrower = {"num-queues": {**variables["num-queues"], "allowed_values": ["1-4"]}}
    put(f"{firmware}@2027.3", "draft", (), **narrower)
    registry.post("/profiles", json={**profile, "values": {nic: {"num-queues": 5}}})
    put(f"{firmware}@2027.4", "published", filter={"type": "bool", "init_value": False, "off_value": False})
    for version in (1, 2, 3):
        publish(f"{firmware}@2027.{version}")


def _record_quota(recorder: Recorder, database_url: str) -> None:
    """Record what a vendor cannot publish because it would take too much."""
    names = [f"v{number}" for number in range(300)]
    model, long = "vendor-c.com/m", "x" * 4000
    short = {name: {"type": "str", "init_value": ""} for name in names}
    variables = {name: {**variable, "description": long + name} for name, variable in short.items()}
    values = {model: {name: long + name for name in names}}
    one = {"model": model, "implementation": "vendor-c.com/fw", "version": "1", "variables": variables}
    with TestClient(make_app(database_url, vendor_megabytes=1), headers=AUTHORIZATION) as registry:
        registry.put("/vendors/vendor-c.com", json={})
        registry.put("/releases/vendor-c.com/fw@2", json={"models": {model: {"variables": short}}})
        token = registry.post("/tokens", json={"name": "c", "role": "publisher", "vendor": "vendor-c.com"}).json()
        recorder.replaced[token["id"]] = _TOKEN_ID
        registry.headers["Authorization"] = f"Bearer {token['token']}"
        for operation, response in (
            (
                "put_release",
                registry.put("/releases/vendor-c.com/fw@1", json={"models": {model: {"variables": variables}}}),
            ),
            ("post_variable_set", registry.post("/variable-sets", json=one)),
            ("post_profile", registry.post("/profiles", json={"name": "vendor-c.com/p", "values": values})),
            ("put_profile", registry.put("/profiles/vendor-c.com/p", json={"values": values})),
        ):
            assert response.json()["code"] == "quota-exceeded", (operation, response.text[:500])
            recorder.keep_error(operation, response)


def _record_anywhere(recorder: Recorder, database_url: str) -> None:
    """Record what any request can be answered with."""

    def keep(response: Any) -> None:
        recorder.keep_error("anywhere", response)

    with TestClient(make_app(database_url, hosts=["registry.example"]), base_url="https://other.example") as named:
        keep(named.get("/vendors"))
    with TestClient(make_app(database_url), raise_server_exceptions=False, follow_redirects=False) as registry:
        keep(registry.get("/nothing"))
        keep(registry.delete("/vendors"))
        keep(registry.get("/vendors/"))
        with patch("app.api.vendor.listing.vendors", side_effect=RuntimeError):
            keep(registry.get("/vendors"))
    with patch("app.api.connection.BODY_SECONDS", 0.05), served(make_app(database_url), http=Connection) as address:
        head = b"POST /compatibility HTTP/1.1\r\nHost: registry.example\r\n"
        for request in (
            b"not HTTP\r\n\r\n",
            head + b"X-Large: " + b"x" * 70_000 + b"\r\n\r\n",
            head + b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
        ):
            keep(_sent(address, request))


def _sent(address: str, request: bytes) -> httpx.Response:
    """Return the answer to what a client sends as it is."""
    url = httpx.URL(address)
    with socket.create_connection((url.host, url.port), timeout=10) as connection:
        connection.sendall(request)
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *headers = head.decode().split("\r\n")
    return httpx.Response(
        int(status.split(" ")[1]), headers=dict(line.split(": ", 1) for line in headers), content=body
    )


def written(answers: Answers) -> str:
    """Return answers as they are written into the file."""
    return json.dumps(answers, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Write the answers again."""
    document = make_app(_UNREACHABLE).openapi()
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/registry.db"
        engine = database.create_engine(url)
        database.migrate(engine)
        engine.dispose()
        ANSWERS.write_text(written(record(url, document)), encoding="utf-8")


if __name__ == "__main__":
    main()
