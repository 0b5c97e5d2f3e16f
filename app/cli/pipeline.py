"""The OIDC token of the pipeline that the command runs in."""

import os
import time

import httpx

from app.settings import ClientSettings

_TIMEOUT_SECONDS = 30
# Pauses after attempts that failed: the service of GitHub is busy at times.
_PAUSES = (1.0, 3.0, None)


class PipelineError(Exception):
    """There is no OIDC token; the message says how to get one."""


def oidc_token(settings: ClientSettings, audience: str) -> str:
    """Return the OIDC token of this run: REGISTRY_ID_TOKEN, otherwise one of GitHub Actions for an audience."""
    given = settings.id_token.get_secret_value().strip() if settings.id_token is not None else ""
    if given:
        return given
    url, secret = (os.environ.get(f"ACTIONS_ID_TOKEN_REQUEST_{name}", "") for name in ("URL", "TOKEN"))
    if url and secret:
        return _of_github(url, secret, audience)
    message = (
        "This pipeline has no OIDC token. On GitHub, give the job the permission id-token: write. On GitLab, add "
        "REGISTRY_ID_TOKEN under id_tokens. Elsewhere, set REGISTRY_ID_TOKEN."
    )
    raise PipelineError(message)


def _of_github(url: str, secret: str, audience: str) -> str:
    """Return a new OIDC token of GitHub Actions (OpenID Connect reference, "Methods for requesting the OIDC token")."""
    problem = ""
    for pause in _PAUSES:
        try:
            address = httpx.URL(url).copy_merge_params({"audience": audience})
            headers = {"Authorization": f"Bearer {secret}", "Accept": "application/json"}
            response = httpx.get(address, headers=headers, timeout=_TIMEOUT_SECONDS)
            token = response.json()["value"] if response.is_success else None
            if isinstance(token, str):
                return token
            problem = f"it answered {response.status_code}"
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            problem = str(error)
        except (ValueError, KeyError, TypeError):
            problem = "its answer has no token"
        if pause is not None:
            time.sleep(pause)
    message = f"GitHub Actions gave no OIDC token: {problem}"
    raise PipelineError(message)
