"""Registries with real QEMU releases, to copy for each test."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack

import pytest
from fastapi.testclient import TestClient

from app.cli.qemu import publication
from app.cli.qemu.capture import Capture
from tests.cli.conftest import DATA, RELEASE, client_of
from tests.conftest import copied_database, fresh_database, make_app


@pytest.fixture(scope="package")
def databases(request: pytest.FixtureRequest) -> Iterator[Mapping[str, str]]:
    """Yield a database for each kind of registry that cases begin with."""
    with ExitStack() as stack:
        empty = stack.enter_context(fresh_database("sqlite", request))
        urls = {"empty": empty}
        for kind, before, version in (("qemu-7.2", "empty", "7.2"), ("qemu-7.2+10.0", "qemu-7.2", "10.0")):
            urls[kind] = stack.enter_context(copied_database(urls[before], request))
            with TestClient(make_app(urls[kind])) as service, client_of(service) as api:
                taken = Capture.load(DATA / f"qemu-{version}.json.gz")
                publication.publish(api, taken, RELEASE[version], lambda *_: None, override="a test")
        yield urls
