"""Admins create and revoke tokens on a page; no other site can make their browsers do it."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.api.stories import vendor
from tests.conftest import AUTHORIZATION, TOKEN, make_app
from tests.pages.test_pages import Page

ADMIN = ("admin", TOKEN)
HOST = "registry.example"
OWN = {"Sec-Fetch-Site": "same-origin", "Origin": f"https://{HOST}"}
FORM = {"name": "ci of vendor-a", "role": "publisher", "vendor": "vendor-a.com", "days": "90"}


@pytest.fixture
def client(database_url: str) -> Iterator[TestClient]:
    """Yield a client without a token of a registry with a vendor."""
    with TestClient(make_app(database_url), base_url=f"http://{HOST}", follow_redirects=False) as client:
        client.headers.update(AUTHORIZATION)
        vendor(client)
        del client.headers["Authorization"]
        yield client


def tokens(client: TestClient) -> list[dict[str, Any]]:
    """Return the tokens as the API lists them."""
    items: list[dict[str, Any]] = client.get("/tokens", headers=AUTHORIZATION).json()["items"]
    return items


def test_a_token_is_created_and_its_secret_shown_once(client: TestClient) -> None:
    created = client.post("/ui/tokens", data=FORM, auth=ADMIN, headers=OWN)
    assert created.status_code == 201
    assert created.headers["cache-control"] == "no-store"
    (secret,) = set(re.findall(r"dpr_[\w-]+", created.text))
    (token,) = tokens(client)
    assert (token["name"], token["role"], token["vendor"]) == ("ci of vendor-a", "publisher", "vendor-a.com")
    assert token["expires_at"] is not None
    document = {"models": {"vendor-a.com/nic": {"variables": {"q": {"type": "int", "init_value": 1}}}}}
    bearer = {"Authorization": f"Bearer {secret}"}
    assert client.put("/releases/vendor-a.com/fw@1", json=document, headers=bearer).status_code == 201
    listed = client.get("/ui/tokens", auth=ADMIN)
    assert "ci of vendor-a" in Page(listed).text
    assert secret not in listed.text
    assert "private" in listed.headers["cache-control"]


def test_a_token_is_revoked_and_then_shown_only_on_request(client: TestClient) -> None:
    client.post("/ui/tokens", data=FORM, auth=ADMIN, headers=OWN)
    (token,) = tokens(client)
    revoked = client.post(f"/ui/tokens/{token['id']}/revoke", auth=ADMIN, headers=OWN)
    assert (revoked.status_code, revoked.headers["location"]) == (303, "/ui/tokens")
    assert tokens(client)[0]["revoked_at"]
    assert token["id"] not in client.get("/ui/tokens", auth=ADMIN).text
    everything = Page(client.get("/ui/tokens?state=all", auth=ADMIN)).text
    assert "revoked" in everything
    assert " for good" not in everything
    assert client.post("/ui/tokens/none/revoke", auth=ADMIN, headers=OWN).status_code == 404


def test_a_trusted_publisher_is_deleted(client: TestClient) -> None:
    document = {
        "vendor": "vendor-a.com",
        "issuer": "https://ci.example",
        "audience": "https://registry.example",
        "claims": {"repository": "a/b"},
    }
    publisher = client.post("/trusted-publishers", json=document, headers=AUTHORIZATION).json()["id"]
    page = Page(client.get("/ui/tokens", auth=ADMIN))
    assert f"{publisher} vendor-a.com https://ci.example" in page.text
    assert "repository=a/b" in page.text
    deleted = client.post(f"/ui/trusted-publishers/{publisher}/delete", auth=ADMIN, headers=OWN)
    assert deleted.status_code == 303
    assert client.get("/trusted-publishers", headers=AUTHORIZATION).json()["items"] == []
    assert client.post(f"/ui/trusted-publishers/{publisher}/delete", auth=ADMIN, headers=OWN).status_code == 404


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": f"https://{HOST}"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": ""},
        {"Origin": "null"},
        {"Origin": "https://evil.example"},
        {"Origin": f"https://{HOST}.evil.example"},
        {"Origin": f"https://evil.example/{HOST}"},
        {"Origin": f"https://{HOST}:8443"},
        {"Origin": f"https://x@{HOST}"},
        {"Origin": "http://["},
        {"Origin": ""},
        {"Referer": f"https://{HOST}/ui/tokens"},
    ],
)
@pytest.mark.parametrize("path", ["/ui/tokens", "/ui/tokens/{id}/revoke", "/ui/trusted-publishers/{id}/delete"])
def test_a_form_of_another_site_changes_nothing(client: TestClient, path: str, headers: dict[str, str]) -> None:
    client.post("/tokens", json={"name": "kept", "role": "reader"}, headers=AUTHORIZATION)
    before = tokens(client)
    # The browser sends the password that it keeps, whoever made the form.
    response = client.post(path.format(id=before[0]["id"]), data=FORM, auth=ADMIN, headers=headers)
    assert response.status_code == 403
    assert "The form was not sent from a page of this registry." in Page(response).text
    assert tokens(client) == before


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "same-origin"}, {"Origin": f"http://{HOST}"}])
def test_a_browser_need_not_send_both_headers(client: TestClient, headers: dict[str, str]) -> None:
    assert client.post("/ui/tokens", data=FORM, auth=ADMIN, headers=headers).status_code == 201


def test_who_is_no_admin_changes_and_sees_nothing(client: TestClient) -> None:
    secret = client.post("/tokens", json={"name": "r", "role": "reader"}, headers=AUTHORIZATION).json()["token"]
    before = tokens(client)
    for auth, status in ((None, 401), (("x", "wrong"), 401), (("x", secret), 403)):
        chosen: Any = {"auth": auth} if auth else {}
        assert client.get("/ui/tokens", **chosen).status_code == status
        for path in ("/ui/tokens", f"/ui/tokens/{before[0]['id']}/revoke", "/ui/trusted-publishers/x/delete"):
            assert client.post(path, data=FORM, headers=OWN, **chosen).status_code == status
    assert [token["id"] for token in tokens(client)] == [token["id"] for token in before]
    assert all(token["revoked_at"] is None for token in tokens(client))


@pytest.mark.parametrize(
    ("form", "status", "said"),
    [
        ({}, 422, "/name is missing"),
        ({**FORM, "role": "root"}, 422, "/role must be"),
        ({**FORM, "vendor": ""}, 422, "a publisher needs a vendor"),
        ({**FORM, "vendor": "none.example"}, 404, "The vendor none.example is not registered"),
        ({**FORM, "role": "reader"}, 422, "only publishers have a vendor"),
        ({**FORM, "days": "soon"}, 422, "/expires_in"),
        ({**FORM, "days": "²"}, 422, "/expires_in"),
        ({**FORM, "days": "99999999999999999999"}, 422, "/expires_in"),
        ({**FORM, "days": "9" * 5_000}, 422, "/expires_in"),
        ({**FORM, "name": "a\0b"}, 422, "/name"),
        ({**FORM, "name": "x" * 10_000}, 413, "larger than the limit"),
    ],
)
def test_a_form_with_faults_is_a_page_that_names_them(
    client: TestClient, form: dict[str, str], status: int, said: str
) -> None:
    response = client.post("/ui/tokens", data=form, auth=ADMIN, headers=OWN)
    assert response.status_code == status
    assert said in Page(response).text
    assert tokens(client) == []


def test_a_token_that_never_expires(client: TestClient) -> None:
    form = {"name": "operator", "role": "admin", "vendor": "", "days": ""}
    assert client.post("/ui/tokens", data=form, auth=ADMIN, headers=OWN).status_code == 201
    assert tokens(client)[0]["expires_at"] is None
    assert "valid, does not expire" in Page(client.get("/ui/tokens", auth=ADMIN)).text


def test_tokens_are_listed_newest_first_page_by_page(client: TestClient) -> None:
    for number in range(5):
        form = {"name": f"token {number}", "role": "reader"}
        assert client.post("/ui/tokens", data=form, auth=ADMIN, headers=OWN).status_code == 201
    names: list[str] = []
    path = "/ui/tokens?limit=2"
    while path:
        page = Page(client.get(path, auth=ADMIN))
        names += re.findall(r"token \d(?= [0-9a-f]{12})", page.text)
        path = next((link for link in page.links if "cursor=" in link), "")
    assert sorted(names) == [f"token {number}" for number in range(5)]
    times = {token["name"]: (token["created_at"], token["id"]) for token in tokens(client)}
    assert names == sorted(names, key=lambda name: times[name], reverse=True)


def test_only_posts_change_anything(client: TestClient) -> None:
    client.post("/ui/tokens", data=FORM, auth=ADMIN, headers=OWN)
    (token,) = tokens(client)
    for method in ("GET", "HEAD"):
        path = f"/ui/tokens/{token['id']}/revoke"
        assert client.request(method, path, auth=ADMIN, headers=OWN).status_code in {404, 405}
    assert tokens(client)[0]["revoked_at"] is None


def test_behind_a_path_of_a_proxy_a_form_leads_back_to_the_page(client: TestClient) -> None:
    client.post("/tokens", json={"name": "r", "role": "reader"}, headers=AUTHORIZATION)
    (token,) = tokens(client)
    with TestClient(client.app, root_path="/registry", follow_redirects=False) as proxied:
        response = proxied.post(f"/ui/tokens/{token['id']}/revoke", auth=ADMIN, headers=OWN)
        assert response.headers["location"] == "/registry/ui/tokens"
