"""Access rights: every route, for every kind of visitor."""

import threading
import time
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from httpx2 import Response
from pydantic import SecretStr

from app.api.application import create_app
from app.settings import Settings
from app.storage import schema
from tests.api.stories import NIC, QUEUES, problem, publish, vendor
from tests.conftest import AUTHORIZATION, NO_LIMITS, TOKEN, shared_registry

OPEN, READ, SIGNED_IN, PUBLISH, ADMIN = "open", "read", "signed-in", "publish", "admin"
# List every new route here; otherwise the test below fails.
ROUTES = {
    "get /healthz": OPEN,
    "get /readyz": OPEN,
    "get /metrics": READ,
    "get /vendors": READ,
    "get /vendors/{vendor}": READ,
    "put /vendors/{vendor}": ADMIN,
    "get /vendors/{vendor}/keys": READ,
    "put /vendors/{vendor}/keys/{key_id}": ADMIN,
    "delete /vendors/{vendor}/keys/{key_id}": ADMIN,
    "get /signatures/{digest}": READ,
    "get /checkpoint": READ,
    "get /keys": READ,
    "get /implementations/{implementation}": READ,
    "put /implementations/{implementation}": PUBLISH,
    "get /releases": READ,
    "get /releases/{release}": READ,
    "put /releases/{release}": PUBLISH,
    "patch /releases/{release}": PUBLISH,
    "delete /releases/{release}": PUBLISH,
    "get /variable-sets": READ,
    "post /variable-sets": PUBLISH,
    "get /variable-sets/{digest}": READ,
    "get /models": READ,
    "get /models/{model}": READ,
    "get /profiles": READ,
    "post /profiles": PUBLISH,
    "get /profiles/{name}": READ,
    "put /profiles/{name}": PUBLISH,
    "patch /profiles/{name}": PUBLISH,
    "delete /profiles/{name}": PUBLISH,
    "get /errata": READ,
    "post /errata": PUBLISH,
    "get /errata/{erratum}": READ,
    "patch /errata/{erratum}": PUBLISH,
    "get /impact": READ,
    "get /hosts": READ,
    "get /hosts/{host}": READ,
    "post /hosts": ADMIN,
    "put /hosts/{host}": ADMIN,
    "delete /hosts/{host}": ADMIN,
    "get /compatibility": READ,
    "post /compatibility": READ,
    "post /baseline": READ,
    "get /diff": READ,
    "get /support-matrix": READ,
    "get /changes": READ,
    "get /changes/{seq}": READ,
    "get /audit": ADMIN,
    "get /mirrors": READ,
    "get /mirrors/{registry}": READ,
    "post /mirrors/{registry}/changes": ADMIN,
    "get /tokens": ADMIN,
    "get /tokens/self": SIGNED_IN,
    "post /tokens": ADMIN,
    "delete /tokens/{token_id}": ADMIN,
    "post /tokens/exchange": OPEN,
    "get /trusted-publishers": ADMIN,
    "post /trusted-publishers": ADMIN,
    "delete /trusted-publishers/{publisher_id}": ADMIN,
}
# The id of the erratum in BODIES.
ERRATUM = "a2c102d740a8aa62"
NAMES = {
    "vendor": "vendor-a.com",
    "implementation": "vendor-a.com/fw",
    "release": "vendor-a.com/fw@1",
    "name": "vendor-a.com/p",
    "model": NIC,
    "digest": f"sha256:{0:064}",
    "host": "host-1",
    "seq": "1",
    "registry": "none",
    "token_id": "none",
    "publisher_id": "none",
    "erratum": ERRATUM,
    "key_id": "f42d6e6a",
}
BODIES: dict[str, Any] = {
    "put /vendors/{vendor}": {},
    "put /vendors/{vendor}/keys/{key_id}": {
        "key": "vendor-a.com/2026+f42d6e6a+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"
    },
    "put /implementations/{implementation}": {"evolution": "full"},
    "post /errata": {"release": "vendor-a.com/fw@1", "model": NIC, "description": "it fails"},
    "patch /errata/{erratum}": {"state": "withdrawn"},
    "put /releases/{release}": {"models": {}},
    "patch /releases/{release}": {"state": "deprecated"},
    "post /variable-sets": {"model": NIC, "implementation": "vendor-a.com/fw", "version": "1", "variables": {}},
    "post /profiles": {"name": "vendor-a.com/p", "values": {}},
    "put /profiles/{name}": {"values": {}},
    "patch /profiles/{name}": {"state": "deprecated"},
    "post /hosts": {"hosts": {"host-1": {"releases": ["vendor-a.com/fw@1"]}}},
    "put /hosts/{host}": {"releases": ["vendor-a.com/fw@1"]},
    "post /compatibility": {"devices": [{"model": NIC}]},
    "post /baseline": {"models": [NIC], "releases": ["vendor-a.com/fw@1"]},
    "post /mirrors/{registry}/changes": {
        "url": "x",
        "changes": [
            {
                "seq": 1,
                "part_of": 1,
                "at": "x",
                "by": "x",
                "kind": "vendor-registered",
                "name": "a.b",
                "document": {},
                "link": f"sha256:{0:064}",
            }
        ],
    },
    "post /tokens": {"name": "another", "role": "reader"},
    "post /tokens/exchange": {"token": "not an OIDC token"},
    "post /trusted-publishers": {
        "vendor": "vendor-a.com",
        "issuer": "https://issuer.example",
        "audience": "https://registry.example",
        "claims": {"repository": "vendor-a/firmware"},
    },
}
NOT_ALLOWED = {401, 403}


def create(registry: TestClient, role: str, **more: Any) -> Any:
    """Create a token as the admin; return it with its secret."""
    response = registry.post("/tokens", json={"name": f"a {role}", "role": role, **more}, headers=AUTHORIZATION)
    assert response.status_code == 201, response.text
    assert response.headers["Cache-Control"] == "no-store"
    return response.json()


def bearer(created: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {created['token']}"}


unchanged = shared_registry(vendor)


@pytest.fixture
def visitors(registry: TestClient) -> dict[str, dict[str, str]]:
    """Return the headers of every kind of visitor, for a registry with content."""
    del registry.headers["Authorization"]
    admin = TestClient(registry.app, headers=AUTHORIZATION)
    vendor(admin)
    vendor(admin, "vendor-b.com")
    publish(
        admin, "vendor-a.com/fw@1", {"num-queues": QUEUES}, profiles=[{"name": "vendor-a.com/p", "values": {NIC: {}}}]
    )
    assert admin.post("/errata", json=BODIES["post /errata"]).json()["id"] == ERRATUM
    revoked = create(registry, "admin")
    assert registry.delete(f"/tokens/{revoked['id']}", headers=AUTHORIZATION).status_code == 204
    expired = create(registry, "admin", expires_in=1)
    with registry.app.state.container.databases.primary.begin() as connection:  # type: ignore[attr-defined]
        past = sa.update(schema.token).where(schema.token.c.id == expired["id"])
        connection.execute(past.values(expires_at="2020-01-01T00:00:00.000+00:00"))
    return {
        "anonymous": {},
        "reader": bearer(create(registry, "reader")),
        "publisher": bearer(create(registry, "publisher", vendor="vendor-a.com")),
        "another": bearer(create(registry, "publisher", vendor="vendor-b.com")),
        "admin": bearer(create(registry, "admin")),
        "root": AUTHORIZATION,
        "expired": bearer(expired),
        "revoked": bearer(revoked),
        "stranger": {"Authorization": "Bearer dpr_nonsense"},
    }


def expected(visitor: str, kind: str, *, is_closed: bool) -> int | None:
    """Return the status of a refusal; None if the visitor is allowed."""
    if kind == OPEN:
        return None
    if visitor in {"expired", "revoked", "stranger"}:
        return 401
    if visitor == "anonymous":
        return 401 if kind != READ or is_closed else None
    allowed = {
        READ: {"reader", "publisher", "another", "admin", "root"},
        SIGNED_IN: {"reader", "publisher", "another", "admin", "root"},
        PUBLISH: {"publisher", "admin", "root"},
        ADMIN: {"admin", "root"},
    }
    return None if visitor in allowed[kind] else 403


def request(registry: TestClient, route: str, headers: dict[str, str]) -> Response:
    method, path = route.split(" ")
    query = {"dry_run": "true"} if method != "get" else {}
    if route == "get /compatibility":
        query["model"] = NIC
    if route == "get /diff":
        query |= {"from": "vendor-a.com/p", "to": "vendor-a.com/p"}
    if route == "get /impact":
        query["name"] = "vendor-a.com/p"
    if "evolution" in str(BODIES.get(route)):
        query["dry_run"] = "true"
    return registry.request(method, path.format(**NAMES), json=BODIES.get(route), params=query, headers=headers)


def test_every_route_is_listed_and_documents_its_refusals(unchanged: TestClient) -> None:
    document = unchanged.get("/openapi.json").json()["paths"]
    operations = {
        f"{method} {path}": operation
        for path, path_operations in document.items()
        for method, operation in path_operations.items()
    }
    assert operations.keys() == ROUTES.keys()
    for route, kind in ROUTES.items():
        if kind in {PUBLISH, ADMIN}:
            assert {"401", "403"} <= operations[route]["responses"].keys(), route
        assert ("security" in operations[route]) == (kind != OPEN), route


@pytest.mark.parametrize("is_closed", [False, True])
def test_access_rights(
    registry: TestClient, visitors: dict[str, dict[str, str]], database_url: str, is_closed: bool
) -> None:
    app = registry.app
    if is_closed:
        app = create_app(Settings(database_url=database_url, admin_token=SecretStr(TOKEN), read="token", **NO_LIMITS))
    wrong = {}
    with TestClient(app) as client:
        for route, kind in ROUTES.items():
            for visitor, headers in visitors.items():
                response = request(client, route, headers)
                status = expected(visitor, kind, is_closed=is_closed)
                is_right = response.status_code == status if status else response.status_code not in NOT_ALLOWED
                if not is_right or response.status_code >= 500:
                    wrong[route, visitor] = response.status_code
    assert wrong == {}


def test_a_foreign_name_and_an_unknown_name_get_the_same_answer(
    registry: TestClient, visitors: dict[str, dict[str, str]]
) -> None:
    answers = set()
    for name in ("vendor-a.com/fw", "vendor-a.com/none", "vendor-z.com/none"):
        for method, path, body in (
            ("put", f"/releases/{name}@1", {"models": {}}),
            ("patch", f"/releases/{name}@1", {"state": "retired"}),
            ("delete", f"/releases/{name}@1", None),
            ("put", f"/implementations/{name}", {"evolution": "none"}),
            ("patch", f"/profiles/{name}", {"state": "retired"}),
            ("put", f"/profiles/{name}", {"values": {}}),
        ):
            answers.add(registry.request(method, path, json=body, headers=visitors["another"]).text)
    assert len(answers) == 1, answers


def test_a_publisher_cannot_publish_the_profile_of_another_vendor_with_its_release(
    registry: TestClient, visitors: dict[str, dict[str, str]]
) -> None:
    registry.headers.update(visitors["another"])
    foreign = {"name": "vendor-a.com/q", "values": {NIC: {}}}
    refused = publish(registry, "vendor-b.com/dpu@1", {"num-queues": QUEUES}, profiles=[foreign])
    problem(refused, 403, "forbidden")
    # Any vendor that supports a published profile can list it.
    listed = publish(registry, "vendor-b.com/dpu@1", {"num-queues": QUEUES}, profiles=["vendor-a.com/p"])
    assert listed.status_code == 201, listed.text
    override = registry.put("/releases/vendor-b.com/dpu@2", json={"models": {}}, params={"override": "no"})
    problem(override, 403, "forbidden")


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        ({"role": "publisher", "vendor": ""}, ("/vendor", "invalid-name")),
        ({"role": "publisher", "vendor": " "}, ("/vendor", "invalid-name")),
        ({"role": "publisher", "vendor": "vendor-a.com/x"}, ("/vendor", "invalid-name")),
        ({"role": "publisher", "vendor": "a\0.com"}, ("/vendor", "invalid-name")),
        ({"role": "reader", "vendor": ""}, ("/vendor", "invalid-name")),
        ({"role": "publisher"}, ("/vendor", "missing-field")),
        ({"role": "publisher", "vendor": None}, ("/vendor", "missing-field")),
        ({"role": "admin", "vendor": "vendor-a.com"}, ("/vendor", "unknown-field")),
    ],
)
def test_a_token_has_the_vendor_that_its_role_needs(
    registry: TestClient, document: dict[str, Any], fault: tuple[str, str]
) -> None:
    assert problem(registry.post("/tokens", json={"name": "x", **document}), 422, "invalid") == [fault]
    assert registry.get("/tokens").json()["items"] == []


def test_a_secret_is_shown_once_and_stored_nowhere(registry: TestClient) -> None:
    vendor(registry)
    created = create(registry, "publisher", vendor="vendor-a.com", expires_in=3600)
    assert created["token"].startswith("dpr_")
    assert created["expires_at"] > created["created_at"]
    (listed,) = registry.get("/tokens").json()["items"]
    assert listed == {name: value for name, value in created.items() if name not in {"token", "dry_run"}}
    with registry.app.state.container.databases.primary.connect() as connection:  # type: ignore[attr-defined]
        for table in schema.metadata.sorted_tables:
            assert created["token"] not in str(connection.execute(sa.select(table)).all())
    tried = registry.post("/tokens", json={"name": "x", "role": "reader"}, params={"dry_run": True}).json()
    assert tried["token"] is None
    assert len(registry.get("/tokens").json()["items"]) == 1


@pytest.mark.parametrize(
    ("document", "status", "code", "faults"),
    [
        ({"name": "x", "role": "publisher"}, 422, "invalid", [("/vendor", "missing-field")]),
        ({"name": "x", "role": "admin", "vendor": "vendor-a.com"}, 422, "invalid", [("/vendor", "unknown-field")]),
        ({"name": "x", "role": "publisher", "vendor": "none.com"}, 404, "unknown-vendor", []),
        ({"name": "", "role": "king"}, 422, "invalid", [("/name", "invalid-value"), ("/role", "invalid-value")]),
        ({"name": "x", "role": "reader", "expires_in": 0}, 422, "invalid", [("/expires_in", "invalid-value")]),
    ],
)
def test_invalid_tokens_are_refused(
    unchanged: TestClient, document: Any, status: int, code: str, faults: list[tuple[str, str]]
) -> None:
    assert problem(unchanged.post("/tokens", json=document), status, code) == faults


def test_tokens_are_listed_page_by_page_in_the_order_created(registry: TestClient) -> None:
    ids = [create(registry, "reader")["id"] for _ in range(3)]
    page = registry.get("/tokens", params={"limit": 2}).json()
    rest = registry.get("/tokens", params={"cursor": page["next"]}).json()
    listed = [token["id"] for token in page["items"] + rest["items"]]
    assert sorted(listed) == sorted(ids)
    assert rest["next"] is None
    problem(registry.delete("/tokens/none"), 404, "unknown-token")


def test_the_last_use_is_stored(registry: TestClient) -> None:
    headers = bearer(create(registry, "reader"))
    assert registry.get("/vendors", headers=headers).status_code == 200
    registry.app.state.container.tokens.note_uses()  # type: ignore[attr-defined]
    (token,) = registry.get("/tokens", headers=AUTHORIZATION).json()["items"]
    assert token["last_used_at"] >= token["created_at"]


def test_a_revoked_token_is_refused_by_all_workers_within_a_second(registry: TestClient, database_url: str) -> None:
    other = create_app(Settings(database_url=database_url, admin_token=SecretStr(TOKEN), read="token", **NO_LIMITS))
    created = create(registry, "reader")
    with TestClient(other, headers=bearer(created)) as worker:
        assert worker.get("/vendors").status_code == 200
        assert registry.delete(f"/tokens/{created['id']}").status_code == 204
        assert registry.get("/vendors", headers=bearer(created)).status_code == 401
        until = time.monotonic() + 1
        while (status := worker.get("/vendors").status_code) == 200 and time.monotonic() < until:
            time.sleep(0.05)
        assert status == 401
    assert registry.delete(f"/tokens/{created['id']}").status_code == 204


def test_the_audit_names_the_token_of_each_change(registry: TestClient) -> None:
    vendor(registry)
    created = create(registry, "publisher", vendor="vendor-a.com")
    publish(TestClient(registry.app, headers=bearer(created)), "vendor-a.com/fw@1", {"num-queues": QUEUES})
    registry.delete(f"/tokens/{created['id']}")
    audited = [(change["kind"], change["by"], change["seq"]) for change in registry.get("/audit").json()["items"]]
    assert audited == [
        ("vendor-registered", "admin", 1),
        ("token-created", "admin", None),
        ("release-published", f"a publisher ({created['id']})", 2),
        ("token-revoked", "admin", None),
    ]
    assert [change["seq"] for change in registry.get("/changes").json()["items"]] == [1, 2]


def test_only_an_admin_publishes_a_draft_with_a_profile_of_another_vendor(
    registry: TestClient, visitors: dict[str, dict[str, str]]
) -> None:
    document = {"models": {}, "profiles": [{"name": "vendor-a.com/nested", "values": {NIC: {}}}], "state": "draft"}
    document["models"] = {NIC: {"variables": {"num-queues": QUEUES}}}
    path = "/releases/vendor-b.com/dpu@1"
    assert registry.put(path, json=document, headers=visitors["admin"]).status_code == 201
    published = {"state": "published"}
    problem(registry.patch(path, json=published, headers=visitors["another"]), 403, "forbidden")
    assert registry.patch(path, json=published, headers=visitors["admin"]).status_code == 200


def test_a_body_is_read_only_after_the_token_is_checked(registry: TestClient) -> None:
    del registry.headers["Authorization"]
    headers = {"Content-Type": "application/json"}
    problem(registry.put("/vendors/vendor-a.com", content=b"{", headers=headers), 401, "unauthorized")
    reader = bearer(create(registry, "reader"))
    problem(registry.put("/releases/a.b/c@1", content=b"{", headers=headers | reader), 403, "forbidden")
    problem(registry.put("/vendors/vendor-a.com", content=b"{", headers=headers | AUTHORIZATION), 400, "malformed-json")


def test_a_waiting_read_ends_when_its_token_is_revoked(database_url: str) -> None:
    app = create_app(Settings(database_url=database_url, admin_token=SecretStr(TOKEN), read="token", **NO_LIMITS))
    with TestClient(app, headers=AUTHORIZATION) as closed:
        created = create(closed, "reader")
        waiting = TestClient(app, headers=bearer(created))
        assert waiting.get("/changes").status_code == 200

        def revoke_and_publish() -> None:
            closed.delete(f"/tokens/{created['id']}")
            closed.put("/vendors/vendor-a.com", json={})

        timer = threading.Timer(0.5, revoke_and_publish)
        timer.start()
        assert closed.get("/changes", params={"wait": 20}, headers=bearer(created)).status_code == 401
        timer.join()


def test_a_token_can_be_asked_what_it_is(registry: TestClient) -> None:
    vendor(registry)
    created = create(registry, "publisher", vendor="vendor-a.com", expires_in=3600)
    own = registry.get("/tokens/self", headers=bearer(created))
    assert own.status_code == 200
    assert own.headers["Cache-Control"] == "private, no-store"
    stated = {
        name: created[name] for name in ("id", "name", "role", "vendor", "created_at", "created_by", "expires_at")
    }
    assert own.json() == stated
    operator = registry.get("/tokens/self", headers=AUTHORIZATION).json()
    assert (operator["id"], operator["name"], operator["role"]) == (None, "admin", "admin")
