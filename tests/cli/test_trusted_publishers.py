"""The commands of trusted publishers, as an admin and as a pipeline use them."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from app.cli.client import Registry
from tests.cli.conftest import Run
from tests.issuer import AUDIENCE, Issuer, running_issuer

INFORMATION = json.dumps({"models": {"vendor-a.com/nic": {"params": {"queues": {"type": "int", "init_value": 4}}}}})
IMPORT = ("import", "migration-info", "-", "--release", "vendor-a.com/fw@1")


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    """Yield an issuer on this machine."""
    with running_issuer() as running:
        yield running


@pytest.fixture
def pipeline(run: Run, api: Registry, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return the command of a pipeline that the registry trusts, without a token."""
    api.put("/vendors/vendor-a.com", {})
    created = run(
        "trusted-publisher", "create", "vendor-a.com", "--issuer", issuer.url, "--audience", AUDIENCE,
        "--claim", "repository=vendor-a/firmware", "--claim", "ref=refs/heads/main",
    )  # fmt: skip
    assert (created.exit_code, f"for the audience {AUDIENCE}" in created.stdout) == (0, True), created.stderr
    for name in ("GITHUB_ENV", "ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("REGISTRY_TOKEN", "dpr_expired")
    return run


def test_a_job_on_gitlab_publishes(pipeline: Run, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pipeline(*IMPORT, stdin=INFORMATION).exit_code == 2
    monkeypatch.setenv("REGISTRY_ID_TOKEN", issuer.token())
    exchanged = pipeline("token", "exchange")
    assert exchanged.exit_code == 0, exchanged.stderr
    monkeypatch.setenv("REGISTRY_TOKEN", exchanged.stdout.strip())
    assert pipeline(*IMPORT, stdin=INFORMATION).exit_code == 0
    again = pipeline("token", "exchange")
    assert (again.exit_code, "exchanged before" in again.stderr) == (1, True)


def test_a_job_on_github_publishes(
    pipeline: Run, issuer: Issuer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        if len(asked) == 1:
            return httpx.Response(503)
        audience = parse_qs(urlsplit(str(request.url)).query)["audience"][0]
        return httpx.Response(200, json={"value": issuer.token(aud=audience)})

    transport = httpx.MockTransport(answer)
    monkeypatch.setattr("app.cli.pipeline.httpx.get", lambda url, **options: _get(transport, url, options["headers"]))
    monkeypatch.setattr("app.cli.pipeline._PAUSES", (0.0, None))
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", "https://github.example/token?api-version=2.0")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "of-the-runner")
    variables = tmp_path / "github_env"
    variables.write_text("OTHER=1\n")
    refused = pipeline("token", "exchange", "--audience", AUDIENCE, "--github-env")
    assert (refused.exit_code, "GITHUB_ENV is not set" in refused.stderr) == (2, True)
    monkeypatch.setenv("GITHUB_ENV", str(variables))
    exchanged = pipeline("token", "exchange", "--audience", AUDIENCE, "--github-env")
    assert exchanged.exit_code == 0, exchanged.stderr
    other, token = variables.read_text().splitlines()
    assert other == "OTHER=1"
    name, _, secret = token.partition("=")
    assert name == "REGISTRY_TOKEN"
    mask, line = exchanged.stdout.splitlines()
    assert mask == f"::add-mask::{secret}"
    assert secret not in line
    assert asked[-1].headers["Authorization"] == "Bearer of-the-runner"
    assert "api-version=2.0" in str(asked[-1].url)
    monkeypatch.setenv("REGISTRY_TOKEN", secret)
    assert pipeline(*IMPORT, stdin=INFORMATION).exit_code == 0
    # Without --audience, the token is for the address of the registry, which is not trusted here.
    other_audience = pipeline("token", "exchange")
    assert (other_audience.exit_code, '"http://testserver"' in other_audience.stderr) == (1, True)


def _get(transport: httpx.BaseTransport, url: httpx.URL, headers: dict[str, str]) -> httpx.Response:
    response = transport.handle_request(httpx.Request("GET", url, headers=headers))
    response.read()
    return response


def test_a_pipeline_without_an_oidc_token_learns_how_to_get_one(pipeline: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = pipeline("token", "exchange")
    assert (refused.exit_code, "id-token: write" in refused.stderr) == (2, True)
    monkeypatch.setattr("app.cli.pipeline._PAUSES", (None,))
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", "http://127.0.0.1:1/?api-version=2.0")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "x")
    away = pipeline("token", "exchange", "--json")
    assert (away.exit_code, "GitHub Actions gave no OIDC token" in away.stderr) == (2, True)
    assert json.loads(away.stdout)["code"] == "cannot-ask"


def test_a_refused_token_names_all_reasons(pipeline: Run, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_ID_TOKEN", issuer.token(repository="evil/firmware", aud="x"))
    refused = pipeline("token", "exchange", "--json")
    assert refused.exit_code == 1
    assert json.loads(refused.stdout)["code"] == "wrong-audience"
    assert 'repository="evil/firmware"' in refused.stderr
    monkeypatch.setenv("REGISTRY_ID_TOKEN", issuer.token())
    other = pipeline("token", "exchange", "--vendor", "vendor-b.com")
    assert (other.exit_code, "vendor-b.com has no trusted publisher" in other.stderr) == (1, True)
    given = pipeline("token", "exchange", "--vendor", "vendor-a.com", "--json")
    assert (given.exit_code, json.loads(given.stdout)["vendor"]) == (0, "vendor-a.com")


def test_an_admin_lists_and_deletes_trusted_publishers(
    pipeline: Run, issuer: Issuer, monkeypatch: pytest.MonkeyPatch, api: Registry
) -> None:
    del api
    refused = pipeline("trusted-publisher", "list")
    assert refused.exit_code == 2
    monkeypatch.setenv("REGISTRY_TOKEN", "a-token-for-tests")
    listed = pipeline("trusted-publisher", "list", "--vendor", "vendor-a.com")
    assert "ref=refs/heads/main; repository=vendor-a/firmware" in listed.stdout
    (publisher,) = json.loads(pipeline("trusted-publisher", "list", "--json").stdout)
    assert publisher["issuer"] == issuer.url
    assert json.loads(pipeline("trusted-publisher", "list", "--vendor", "vendor-b.com", "--json").stdout) == []
    deleted = pipeline("trusted-publisher", "delete", publisher["id"], "--json")
    assert json.loads(deleted.stdout) == {"deleted": publisher["id"]}
    again = pipeline("trusted-publisher", "delete", publisher["id"])
    assert (again.exit_code, "unknown-trusted-publisher" in again.stderr) == (2, True)


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        (["repository"], "--claim must be name=value"),
        (["ref=a", "ref=b"], "--claim names ref twice"),
        (["ref=a"], "/claims: must name one project"),
    ],
)
def test_claims_that_are_not_safe_are_refused(
    pipeline: Run, monkeypatch: pytest.MonkeyPatch, claims: list[str], message: str
) -> None:
    monkeypatch.setenv("REGISTRY_TOKEN", "a-token-for-tests")
    options = [option for claim in claims for option in ("--claim", claim)]
    refused = pipeline("trusted-publisher", "create", "vendor-a.com", "--issuer", "https://x.example", *options)
    assert (refused.exit_code, message in refused.stderr) == (2, True), refused.stderr
