"""Nova's scheduler asks: a whole Nova from PyPI, with the filter and the weigher in its configuration.

Every request goes through Nova's API, conductor, scheduler, placement and compute services (nova_cloud.py), with
threads, and with LONG=1 also under eventlet; only the hypervisor is Nova's fake one.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from app.client import Registry
from tests.adapters.cloud import Cloud, needs_nova, nova_in
from tests.adapters.conftest import NEW, NIC, OLD, PROFILE, PROPERTIES, admin
from tests.counts import full
from tests.running.conftest import ROOT, Server, command, environment, running
from tests.running.test_wheels import build, unpack

# Accepts the profile, but does not read the state of running devices.
NEXT = "vendor-a.com/fw@3"
# Long enough for a machine that does other things as well.
_ASK_SECONDS = 8
# gone-1 is a host of Nova that nobody has registered.
HOSTS = ["gone-1", "new-1", "new-2", "next-1", "old-1"]

# Nova's own default is still eventlet; the adapter's code is the same.
_MODES = ["threads", "eventlet"][: full(2, short=1)]

pytestmark = [needs_nova, pytest.mark.long]


@pytest.fixture(scope="module")
def registry_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield the registry that Nova asks, with a fleet."""
    url = f"sqlite:///{tmp_path_factory.mktemp('registry')}/r.db"
    subprocess.run(command("migrate"), env=environment(database_url=url), check=True, stdout=subprocess.DEVNULL)
    with running(url) as server:
        with admin(server) as registry:
            fill(registry)
        yield server


def fill(registry: Registry) -> None:
    """Publish three releases of a card, and register four hosts."""
    registry.put("/vendors/vendor-a.com", {})
    queues: dict[str, Any] = {"type": "int", "init_value": 4, "off_value": 1}
    for release, allowed, writes, reads in ((OLD, "1-4", 1, 1), (NEW, "1-8", 2, 2), (NEXT, "1-8", 3, 3)):
        variables = {"num-queues": {**queues, "allowed_values": [allowed]}}
        model = {"variables": variables, "saved_state": {"writes": writes, "reads": [reads]}}
        profiles = [] if release == OLD else [PROFILE]
        if release == NEW:
            profiles = [{"name": PROFILE, "values": {NIC: {"num-queues": 8}}}]  # type: ignore[list-item]
        registry.put(f"/releases/{release}", {"models": {NIC: model}, "profiles": profiles})
    for host, release in (("old-1", OLD), ("new-1", NEW), ("new-2", NEW), ("next-1", NEXT)):
        registry.put(f"/hosts/{host}", {"releases": [release]})


@pytest.fixture(scope="module")
def client_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder with the installed client, which is what an operator installs beside Nova."""
    folder = tmp_path_factory.mktemp("client")
    return unpack(build(folder, ROOT / "app" / "client"), folder / "installed")


@pytest.fixture(scope="module", params=_MODES)
def cloud(
    request: pytest.FixtureRequest,
    registry_server: Server,
    client_wheel: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cloud]:
    """Yield a Nova whose configuration has the lines that the command prints."""
    folder = tmp_path_factory.mktemp("nova")
    lines = subprocess.check_output(
        command("adapter", "nova"),
        env=environment(url=registry_server.url, adapter_ask_seconds=str(_ASK_SECONDS)),
        text=True,
    )
    conf = folder / "nova.conf"
    # The weigher decides alone among hosts that are otherwise alike.
    conf.write_text(f"{lines}weight_multiplier = 1000\n")
    variables = {"PYTHONPATH": str(client_wheel)}
    with nova_in(folder, [conf], variables, has_threads=request.param == "threads") as started:
        started.do("start", hosts=HOSTS)
        yield started


@pytest.fixture(autouse=True)
def _no_servers_are_left(cloud: Cloud) -> Iterator[None]:
    yield
    cloud.do("delete")


def test_a_vm_without_such_devices_passes_untouched(cloud: Cloud) -> None:
    done = cloud.boot(cloud.flavor({"hw:boot_menu": "true"}), host="gone-1")
    assert (done.server["status"], done.host, done.reasons) == ("ACTIVE", "gone-1", [])


def test_a_new_vm_goes_where_its_profile_is_accepted_and_the_log_says_why_not_elsewhere(cloud: Cloud) -> None:
    done = cloud.boot(cloud.flavor(PROPERTIES))
    assert done.server["status"] == "ACTIVE"
    assert done.host in {"new-1", "new-2", "next-1"}
    first, *others = done.reasons
    assert first == "3 of 5 hosts can take instance SERVER"
    value = f"The profile sets num-queues=8, but {OLD} allows 1-4. (value-not-allowed) (and 1 more)"
    assert sorted(others) == [
        "not for instance SERVER: gone-1: nic0: No host gone-1 is registered. (unknown-host)",
        f"not for instance SERVER: old-1: nic0: {value}",
    ]


@pytest.mark.parametrize("host", ["old-1", "gone-1"])
def test_a_host_that_was_asked_for_is_refused_all_the_same(cloud: Cloud, host: str) -> None:
    done = cloud.boot(cloud.flavor(PROPERTIES), host=host)
    assert done.server["status"] == "ERROR"
    assert done.server["fault"] == "No valid host was found. There are not enough hosts available."
    assert done.was_refused()
    assert done.reasons[0] == "0 of 1 hosts can take instance SERVER"


def test_an_unknown_device_goes_nowhere(cloud: Cloud) -> None:
    for properties, reason in (
        ({**PROPERTIES, "dpr:nic1.model": "vendor-a.com/unheard-of"}, "has no device model vendor-a.com/unheard-of"),
        ({**PROPERTIES, "dpr:nic0.profile": "vendor-a.com/unheard-of"}, "has no profile vendor-a.com/unheard-of"),
        ({"dpr:nic0.modle": NIC}, "dpr:nic0.modle is unknown"),
        ({"DPR:nic0.model": NIC}, "DPR:nic0.model must begin with dpr:"),
        ({"dpr.nic0.model": NIC}, "dpr.nic0.model must begin with dpr:"),
        ({"dpr:nic0.model": NIC}, "The device names neither a release nor a profile"),
    ):
        done = cloud.boot(cloud.flavor(properties))
        assert done.server["status"] == "ERROR"
        assert done.was_refused()
        assert reason in "\n".join(done.reasons)


def test_devices_can_be_properties_of_the_image(cloud: Cloud) -> None:
    done = cloud.boot(cloud.flavor({}), image=cloud.image(PROPERTIES))
    assert done.host in {"new-1", "new-2", "next-1"}
    assert done.reasons[0] == "3 of 5 hosts can take instance SERVER"
    # The same from both is no contradiction; one that differs would let whoever makes images loosen the flavor.
    image = cloud.image({**PROPERTIES, "dpr:nic0.release": NEW})
    assert cloud.boot(cloud.flavor(PROPERTIES), image=cloud.image(PROPERTIES)).server["status"] == "ACTIVE"
    refused = cloud.boot(cloud.flavor(PROPERTIES), image=image)
    assert refused.was_refused()
    assert refused.reasons[1].endswith("flavor and image describe dpr:nic0 differently")


def test_a_property_of_the_image_that_nova_cuts_off_is_not_asked_about(cloud: Cloud) -> None:
    image = cloud.image({**PROPERTIES, "dpr:nic0.values.name": "x" * 300})
    refused = cloud.boot(cloud.flavor({}), image=image)
    assert refused.was_refused()
    assert "Nova has cut off the image's dpr:nic0.values.name" in refused.reasons[1]


def test_all_servers_of_a_request_are_one_question(cloud: Cloud) -> None:
    done = cloud.boot(cloud.flavor(PROPERTIES), count=3)
    assert done.server["status"] == "ACTIVE"
    assert sum("hosts can take" in reason for reason in done.reasons) == 1


def test_a_live_migration_asks_from_the_host_that_the_vm_runs_on(cloud: Cloud) -> None:
    server = cloud.boot(cloud.flavor(PROPERTIES), host="new-1")
    done = cloud.live_migrate(server)
    assert (done.server["status"], done.host) == ("ACTIVE", "new-2")
    # The source itself is ignored by Nova. next-1 accepts the profile, but not the state of a running device.
    assert done.reasons[0] == "1 of 4 hosts can take instance SERVER, live from new-1"
    assert f"{NEXT} does not read" in "\n".join(done.reasons) or "state-not-readable" in "\n".join(done.reasons)
    refused = cloud.live_migrate(server, host="next-1")
    assert refused.was_refused()
    assert (refused.server["status"], refused.host) == ("ACTIVE", "new-2")
    assert refused.reasons[0] == "0 of 1 hosts can take instance SERVER, live from new-2"


def test_a_vm_that_starts_anew_elsewhere_has_no_source(cloud: Cloud) -> None:
    server = cloud.boot(cloud.flavor(PROPERTIES), host="new-1")
    migrated = cloud.act(server, "migrate", host="next-1")
    assert (migrated.server["status"], migrated.host) == ("VERIFY_RESIZE", "next-1")
    assert migrated.reasons[0] == "1 of 1 hosts can take instance SERVER"
    assert cloud.act(migrated, "confirmResize", before="VERIFY_RESIZE").server["status"] == "ACTIVE"
    # The devices of a resize are those of the new flavor.
    four = cloud.flavor({"dpr:nic0.model": NIC, "dpr:nic0.values.num-queues": "4", "dpr:nic0.complete": "true"})
    resized = cloud.act(migrated, "resize", flavorRef=four)
    assert resized.server["status"] == "VERIFY_RESIZE"
    # Now old-1 is among them.
    assert resized.reasons[0] == "3 of 4 hosts can take instance SERVER"
    assert ["gone-1" in reason for reason in resized.reasons[1:]] == [True]


def test_an_evacuation_has_no_source(cloud: Cloud) -> None:
    server = cloud.boot(cloud.flavor(PROPERTIES), host="new-1")
    cloud.do("down", host="new-1", is_down=True)
    try:
        evacuated = cloud.act(server, "evacuate", host="old-1")
        assert evacuated.was_refused()
        evacuated = cloud.act(server, "evacuate", host="next-1")
        assert evacuated.host == "next-1"
        assert evacuated.reasons[0] == "1 of 1 hosts can take instance SERVER"
    finally:
        cloud.do("down", host="new-1", is_down=False)


def test_a_rebuild_with_an_image_that_has_other_devices_asks_again(cloud: Cloud) -> None:
    server = cloud.boot(cloud.flavor({}), host="old-1")
    rebuilt = cloud.act(server, "rebuild", imageRef=cloud.image({"some": "property"}))
    assert (rebuilt.server["status"], rebuilt.reasons) == ("ACTIVE", [])
    refused = cloud.act(server, "rebuild", imageRef=cloud.image(PROPERTIES))
    assert refused.was_refused()
    assert refused.reasons[0] == "0 of 1 hosts can take instance SERVER"


def test_a_host_that_is_forced_is_not_filtered_by_nova(cloud: Cloud) -> None:
    # As the guide says: an availability zone that names a host skips all filters.
    done = cloud.boot(cloud.flavor(PROPERTIES), az="nova:old-1")
    assert (done.server["status"], done.host, done.reasons) == ("ACTIVE", "old-1", [])


@pytest.mark.parametrize(("preferred", "other"), [("new-1", "new-2"), ("new-2", "new-1")])
def test_a_host_with_fewer_warnings_weighs_more(
    cloud: Cloud, registry_server: Server, preferred: str, other: str
) -> None:
    flavor = cloud.flavor(PROPERTIES)
    with admin(registry_server) as registry:
        # The restriction of a model that does not exist is a warning.
        for host, release in ((other, NEW), ("next-1", NEXT)):
            registry.put(f"/hosts/{host}", {"releases": [release], "restrict": {"vendor-a.com/nix": {"x": [1]}}})
        try:
            hosts = [cloud.boot(flavor).host for _ in range(3)]
        finally:
            for host, release in ((other, NEW), ("next-1", NEXT)):
                registry.put(f"/hosts/{host}", {"releases": [release]})
    assert hosts == [preferred] * 3


def test_without_the_filter_the_weigher_asks_itself(cloud: Cloud) -> None:
    server = cloud.boot(cloud.flavor(PROPERTIES)).server["id"]
    asked = cloud.do("ask", server=server).server
    assert asked["passing"] == ["new-1", "new-2", "next-1"]
    # Nothing is known of the state of a device that does not run yet.
    assert asked["weights"] == {"new-1": -1, "new-2": -1, "next-1": -1, "old-1": -2, "gone-1": -2}
    without = cloud.boot(cloud.flavor({})).server["id"]
    asked = cloud.do("ask", server=without).server
    assert (asked["passing"], set(asked["weights"].values())) == (HOSTS, {0})


def test_hosts_can_be_called_as_the_hypervisor_calls_them(cloud: Cloud, registry_server: Server) -> None:
    server = cloud.boot(cloud.flavor(PROPERTIES)).server["id"]
    assert cloud.do("ask", server=server, host_name="node").server["passing"] == []
    with admin(registry_server) as registry:
        registry.put("/hosts/new-2.example", {"releases": [NEW]})
        try:
            assert cloud.do("ask", server=server, host_name="node").server["passing"] == ["new-2"]
        finally:
            registry.delete("/hosts/new-2.example")


def test_images_need_not_count(cloud: Cloud) -> None:
    server = cloud.boot(cloud.flavor({}), image=cloud.image(PROPERTIES)).server["id"]
    assert cloud.do("ask", server=server).server["passing"] == ["new-1", "new-2", "next-1"]
    assert cloud.do("ask", server=server, image_properties=False).server["passing"] == HOSTS


def test_what_nova_does_not_know_of_an_instance_lets_no_host_pass(cloud: Cloud) -> None:
    server = cloud.boot(cloud.flavor(PROPERTIES)).server["id"]
    done = cloud.do("ask", server=server, instance=str(uuid4()))
    assert done.server["passing"] == []
    assert set(done.server["weights"].values()) == {-1}
    assert done.was_refused()
    assert "the VM's devices are not known: InstanceMappingNotFound: Instance SERVER has no mapping" in done.reasons[1]


def test_with_the_registry_killed_no_host_passes_and_running_vms_stay_where_they_are(
    cloud: Cloud, registry_server: Server
) -> None:
    flavor = cloud.flavor(PROPERTIES)
    server = cloud.boot(flavor, host="new-1")
    registry_server.kill()
    try:
        done = cloud.live_migrate(server)
        assert done.was_refused()
        assert (done.server["status"], done.host) == ("ACTIVE", "new-1")
        assert "cannot be reached" in done.reasons[1]
        failed = cloud.boot(flavor)
        assert failed.was_refused()
        assert failed.server["status"] == "ERROR"
        # What has no such devices does not depend on the registry.
        assert cloud.boot(cloud.flavor({})).server["status"] == "ACTIVE"
    finally:
        registry_server.start()
    assert cloud.live_migrate(server).host == "new-2"


@pytest.mark.parametrize("is_killed", [True, False])
def test_a_registry_that_stops_in_the_middle_of_a_question_lets_no_host_pass(
    cloud: Cloud, registry_server: Server, *, is_killed: bool
) -> None:
    flavor = cloud.flavor(PROPERTIES)
    os.kill(registry_server.pid, signal.SIGSTOP)
    cloud.send("boot", flavor=flavor)
    try:
        _wait_for_unread(registry_server.port)
        if is_killed:
            registry_server.kill()
            registry_server.start()
        done = cloud.done()
    finally:
        os.kill(registry_server.pid, signal.SIGCONT)
    assert done.was_refused()
    assert ("cannot be reached" if is_killed else f"gave no answer within {_ASK_SECONDS} seconds") in done.reasons[1]
    assert cloud.boot(flavor).server["status"] == "ACTIVE"


def _wait_for_unread(port: int) -> None:
    """Wait until something has arrived at a port that its process has not read (proc(5), /proc/net/tcp)."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            _, local, _, state, queues, *_ = line.split()
            # 01: an open connection.
            if (int(local.partition(":")[2], 16), state) == (port, "01") and int(queues.partition(":")[2], 16):
                return
        time.sleep(0.02)
    message = "the question did not arrive"
    raise TimeoutError(message)
