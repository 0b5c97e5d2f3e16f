"""A registry larger than a whole emulator: 500 models with 84,000 variables; a second release has a fifth of them."""

from typing import Any

import sqlalchemy as sa

from app.domain.fleet.kind import digest_of
from app.domain.verdict.destination import Destination
from app.storage import database
from app.storage.host import put_host

MODELS = 500
LATER = 5
VARIABLES = 168
VENDOR = "large.example"
EMULATOR = f"{VENDOR}/emulator"
MODEL = f"{VENDOR}/device-250"
PROFILE = f"{VENDOR}/machine-2"


def variables(release: int) -> dict[str, Any]:
    """Return the variables of a model; every seventh is another in each release."""
    found: dict[str, Any] = {}
    for number in range(VARIABLES):
        most = 100 + (release if number % 7 == 0 else 0)
        found[f"variable-{number:03}"] = (
            {"type": "bool", "init_value": number % 2 == 0, "off_value": False}
            if number % 3
            else {"type": "int", "init_value": 1, "off_value": 0, "allowed_values": [f"0-{most}"]}
        )
    return found


def release(number: int) -> dict[str, Any]:
    """Return the document of a release, with a profile for all its models."""
    models = {
        f"{VENDOR}/device-{place}": {"variables": variables(number)}
        for place in range(0, MODELS, LATER if number > 1 else 1)
    }
    values = {f"variable-{place:03}": True for place in range(1, 40) if place % 3}
    profile = {"name": f"{VENDOR}/machine-{number}", "values": dict.fromkeys(models, values)}
    return {"models": models, "profiles": [profile, *(f"{VENDOR}/machine-{each}" for each in range(1, number))]}


HOSTS = 10_000
KINDS = 30


def register_hosts(engine: sa.Engine) -> None:
    """Register hosts of several kinds at once, as an inventory would."""
    with database.writing(engine, "admin") as writing:
        for number in range(HOSTS):
            stated = {**_stated(number % KINDS), "resolves": {}, "units": []}
            put_host(writing, f"host-{number:05}", stated, {"rack": f"r{number % 100}", "row": f"w{number % 7}"})


def _stated(kind: int) -> dict[str, Any]:
    return {
        "releases": [f"{EMULATOR}@{1 + kind % 2}"],
        "restrict": {MODEL: {"variable-000": [f"0-{50 + kind}"]}},
    }


def _kind(number: int) -> str:
    stated = _stated(number)
    return digest_of(Destination("", tuple(stated["releases"]), stated["restrict"]))


PAGES = {
    "home": "/",
    "search": "/?q=variable-1",
    "vendor": f"/ui/vendors/{VENDOR}",
    "models": "/ui/models",
    "model": f"/ui/models/{MODEL}",
    "releases": "/ui/releases",
    "release": f"/ui/releases/{EMULATOR}@1",
    "profiles": "/ui/profiles",
    "profile": f"/ui/profiles/{PROFILE}",
    "values of a profile": f"/ui/profiles/{PROFILE}?model={MODEL}",
    "diff": f"/ui/diff?from={EMULATOR}@1&to={EMULATOR}@2",
    "diff of profiles": f"/ui/diff?from={VENDOR}/machine-1&to={PROFILE}",
    "support matrix": "/ui/support-matrix",
    "support matrix of all": "/ui/support-matrix?implementation=all",
    "reasons": f"/ui/support-matrix/reasons?profile={PROFILE}&release={EMULATOR}@2",
    "ask": f"/ui/ask?model={MODEL}",
    "hosts": "/ui/hosts",
    "hosts with labels": "/ui/hosts?label=rack=r1&label=!gone",
    "host": "/ui/hosts/host-00000",
    "kind": f"/ui/kinds/{_kind(0)}",
    "map": "/ui/map",
    "reasons of the map": f"/ui/map/reasons?from={_kind(1)}&to={_kind(2)}",
    "drain": "/ui/drain",
    "changes": "/ui/changes",
    "changes of hosts": "/ui/changes?hosts=true",
    "help": "/help",
    "help of a code": "/help/value-not-allowed",
    "publish": "/ui/publish",
    "models to ask about": "/ui/ask",
    "verdict": f"/ui/ask?model={MODEL}&source={EMULATOR}@2&profile={PROFILE}&value=variable-001=off",
}
