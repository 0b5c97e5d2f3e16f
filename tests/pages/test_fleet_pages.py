"""The pages of the fleet: hosts by kind, a host, a kind, the map; and a drain of many VMs."""

import json
import re

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from app.storage import schema
from tests.api.stories import FIRMWARE, NIC, QUEUES, publish, vendor
from tests.conftest import AUTHORIZATION, make_app
from tests.pages.test_pages import Page
from tests.pages.world import SCRIPT

ONE, TWO = f"{FIRMWARE}@1", f"{FIRMWARE}@2"
QEMU = "qemu.org/qemu-system-x86_64"
OLD, NEW = f"{QEMU}@7.2.22", f"{QEMU}@10.0.13"
MACHINE = "qemu.org/pc-q35-7.2"
_KIND = re.compile(r"/ui/kinds/(sha256:[0-9a-f]{64})")
_DOMAIN = """<domain type='kvm'><name>{name}</name><os><type arch='x86_64' machine='pc-q35-7.2'>hvm</type></os>
<devices><interface type='bridge'><model type='virtio'/><driver queues='{queues}'/><alias name='net0'/></interface>
{more}</devices></domain>"""


def domain(name: str, queues: int = 4, more: str = "") -> str:
    """Return the XML of a VM with a network card."""
    return _DOMAIN.format(name=name, queues=queues, more=more)


@pytest.fixture
def fleet(registry: TestClient) -> TestClient:
    """Return a registry with hosts of three kinds in two racks."""
    fill_fleet(registry)
    return registry


def fill_fleet(registry: TestClient) -> None:
    """Publish two releases of QEMU and a card, and register hosts of three kinds in two racks."""
    vendor(registry)
    vendor(registry, "qemu.org")
    publish(
        registry, ONE, {"num-queues": QUEUES}, profiles=[{"name": "vendor-a.com/p", "values": {NIC: {"num-queues": 8}}}]
    )
    models = {
        "qemu.org/virtio-net-pci": {
            "variables": {
                "mq": {"type": "bool", "init_value": False, "off_value": False},
                "vectors": {"type": "int", "init_value": 3, "off_value": 3, "allowed_values": ["1-64"]},
            },
            "migratable": True,
        }
    }
    profiles = [{"name": MACHINE, "values": {"qemu.org/virtio-net-pci": {}}}]
    assert registry.put(f"/releases/{OLD}", json={"models": models, "profiles": profiles}).is_success
    newer = {
        "qemu.org/virtio-net-pci": {
            "variables": {**models["qemu.org/virtio-net-pci"]["variables"]},  # type: ignore[dict-item]
            "migratable": True,
        }
    }
    assert registry.put(f"/releases/{NEW}", json={"models": newer, "profiles": [MACHINE]}).is_success
    restrict = {"qemu.org/virtio-net-pci": {"mq": [False]}}
    hosts = {
        "old-1": {"releases": [OLD], "labels": {"rack": "r1", "row": "a"}},
        "old-2": {"releases": [OLD], "labels": {"rack": "r2", "row": "a"}},
        "new-1": {"releases": [NEW], "labels": {"rack": "r1"}, "units": [{"id": "card0", "releases": [ONE]}]},
        "few-1": {"releases": [NEW, "qemu.org/none@1"], "restrict": restrict, "labels": {"rack": "r2"}},
    }
    for name, document in hosts.items():
        assert registry.put(f"/hosts/{name}", json=document).is_success


def forget_hosts(registry: TestClient) -> None:
    """Remove all hosts."""
    for name in ("old-1", "old-2", "new-1", "few-1"):
        assert registry.delete(f"/hosts/{name}").is_success


def text(registry: TestClient, path: str, status: int = 200) -> str:
    """Return the text of a page."""
    response = registry.get(path)
    assert response.status_code == status, response.text[:300]
    return Page(response).text


def kind_of(registry: TestClient, host: str) -> str:
    """Return the digest of the kind of a host, from its page."""
    found = _KIND.search(registry.get(f"/ui/hosts/{host}").text)
    assert found is not None
    return found[1]


def test_hosts_are_shown_by_kind_and_narrowed_by_labels(fleet: TestClient) -> None:
    shown = text(fleet, "/ui/hosts")
    assert "4 hosts of 3 kinds" in shown
    assert "qemu.org/none@1 not published" in shown
    narrowed = text(fleet, "/ui/hosts?label=rack=r1")
    assert "2 of 4 hosts of 2 kinds" in narrowed
    # Conditions combine: all of them must hold.
    assert "1 of 4 hosts of 1 kind." in text(fleet, "/ui/hosts?label=rack=r1&label=!row")
    assert "No host is registered with rack=r1 and rack=r2" in text(fleet, "/ui/hosts?label=rack=r1&label=rack=r2")


def test_stale_hosts_are_listed_by_name(fleet: TestClient) -> None:
    assert "No host is stale" in text(fleet, "/ui/hosts?stale=true")
    shared = fleet.app.state.container  # type: ignore[attr-defined]
    with shared.primary.begin() as connection:
        old = (
            sa.update(schema.host)
            .where(schema.host.c.name.like("old-%"))
            .values(reported_at="2026-01-01T00:00:00.000Z")
        )
        connection.execute(old)
    # Which hosts are stale is read again after a second.
    shared.catalog._stale_until = float("-inf")
    shared.catalog.outdate()
    assert "/ui/hosts?stale=true" in Page(fleet.get("/ui/hosts")).links
    shown = text(fleet, "/ui/hosts?stale=true")
    assert "2 of 4 hosts of 1 kind, which have not reported for 24 hours" in shown
    assert "old-1 , old-2" in shown
    assert "new-1" not in shown
    assert "1 of 4 hosts" in text(fleet, "/ui/hosts?stale=true&label=rack=r1")


def test_chips_of_labels_add_to_the_conditions(fleet: TestClient) -> None:
    page = Page(fleet.get("/ui/hosts?label=rack=r1"))
    assert "/ui/hosts?label=rack%3Dr1&label=row%3Da" in page.links
    assert "/ui/hosts" in page.links


def test_a_host_has_a_page_and_shares_that_of_its_kind(fleet: TestClient) -> None:
    shown = text(fleet, "/ui/hosts/few-1")
    assert "Each host" not in shown
    assert "qemu.org/virtio-net-pci mq off" in shown
    assert kind_of(fleet, "old-1") == kind_of(fleet, "old-2")
    kind = text(fleet, f"/ui/kinds/{kind_of(fleet, 'old-1')}")
    assert "2 hosts of this kind" in kind
    assert "old-1" in kind
    assert "old-2" in kind
    text(fleet, "/ui/hosts/none", 404)
    text(fleet, "/ui/kinds/sha256:0", 404)


def test_a_kind_shows_which_profiles_it_accepts_with_its_restrictions(fleet: TestClient) -> None:
    profile = {"name": "qemu.org/pc-q35-8.0", "values": {"qemu.org/virtio-net-pci": {"mq": True}}}
    extended = {
        "models": {
            "qemu.org/virtio-net-pci": {
                "variables": {
                    "mq": {"type": "bool", "init_value": False, "off_value": False},
                    "vectors": {"type": "int", "init_value": 3, "off_value": 3, "allowed_values": ["1-64"]},
                },
                "migratable": True,
            }
        },
        "profiles": [MACHINE, profile],
    }
    assert fleet.put(f"/releases/{NEW}", json=extended).is_success
    free = text(fleet, f"/ui/kinds/{kind_of(fleet, 'new-1')}")
    held = text(fleet, f"/ui/kinds/{kind_of(fleet, 'few-1')}")
    newer, older = (f"qemu.org/pc-q35-{version} on {NEW}: " for version in ("8.0", "7.2"))
    assert f"{newer}✓" in free
    assert f"{newer}✗" in held
    assert f"{older}✓" in held
    # First whether the hosts accept it, then by what they run. A card of their own does not count for machine types.
    newer, older = (f"qemu.org/pc-q35-{version} on these hosts: " for version in ("8.0", "7.2"))
    assert f"{newer}✓" in free
    assert "vendor-a.com/p on these hosts: ✓" in free
    assert f"{newer}✗" in held
    assert f"{older}✓" in held
    assert "not published" in held


def test_the_map_shows_what_moves_between_kinds_with_reasons(fleet: TestClient) -> None:
    shown = text(fleet, "/ui/map")
    assert "From ↓ to →" in shown
    new, old = kind_of(fleet, "new-1"), kind_of(fleet, "old-1")
    reasons = text(fleet, f"/ui/map/reasons?from={new}&to={old}")
    # The card of new-1 is nowhere else.
    assert "1 of 2 devices cannot move" in reasons
    assert "model-not-supported" in reasons
    assert "All 1 devices can move" in text(fleet, f"/ui/map/reasons?from={old}&to={new}")
    assert "1 1 1" in text(fleet, f"/ui/map?profile={MACHINE}")
    text(fleet, "/ui/map?profile=qemu.org/none", 404)
    text(fleet, f"/ui/map/reasons?from={new}", 404)


def test_the_map_makes_no_devices_with_a_retired_profile(fleet: TestClient) -> None:
    old = kind_of(fleet, "old-1")
    assert f"made with {MACHINE}" in text(fleet, f"/ui/map/reasons?from={old}&to={old}")
    assert fleet.patch(f"/profiles/{MACHINE}", json={"state": "retired"}).is_success
    # Without the profile, the device is made as the release makes it.
    assert "made without a profile" in text(fleet, f"/ui/map/reasons?from={old}&to={old}")


def test_pages_of_hosts_are_closed_where_hosts_are(database_url: str) -> None:
    with TestClient(make_app(database_url), headers=AUTHORIZATION) as registry:
        fill_fleet(registry)
    with TestClient(make_app(database_url, read_hosts="token")) as closed:
        for path in ("/ui/hosts", "/ui/hosts/old-1", "/ui/map", "/ui/kinds/x", "/ui/drain?label=rack=r1"):
            assert closed.get(path).status_code == 401, path
        for path in ("/", "/ui/drain", "/ui/ask"):
            shown = closed.get(path)
            assert shown.status_code == 200
            assert "old-1" not in shown.text
            assert "rack=r1" not in shown.text.replace('placeholder="rack=r1', "")


def drain(registry: TestClient, *vms: str, status: int = 200, **fields: str) -> str:
    """Send the form of the page Drain; return the text of the answer."""
    response = registry.post("/ui/drain", data={"vm": "\n".join(vms), **fields})
    assert response.status_code == status, response.text[:300]
    return Page(response).text


def test_a_drain_begins_with_the_vms_that_can_go_nowhere(fleet: TestClient) -> None:
    shown = drain(fleet, domain("fine", 1), domain("stuck", 1, "<controller type='scsi' model='virtio-scsi'/>"))
    assert "1 of 2 VMs can go nowhere" in shown
    assert shown.index("stuck 0") < shown.index("fine 4")
    assert "unknown-model" in shown


def test_a_drain_says_where_a_vm_can_go_instead(fleet: TestClient) -> None:
    shown = drain(fleet, domain("db-1", 4), source="old-1")
    assert "Can go to 2 hosts" in shown
    assert "The source host old-1 is left out" in shown
    assert "Why not elsewhere" in shown
    assert "value-not-allowed mq=on at the source" in shown
    # That the profile is listed there is another matter; nothing is said twice.
    assert shown.count("mq=on at the source") == 1


def test_a_drain_narrows_by_labels_and_counts_what_it_does_not_show(fleet: TestClient) -> None:
    assert "Asked about 2 hosts of 2 kinds with rack=r1" in drain(fleet, domain("a", 1), label="rack=r1")
    assert "No registered host has rack=none" in drain(fleet, domain("a", 1), label="rack=none")


def test_what_a_drain_does_not_check_is_never_promised(fleet: TestClient) -> None:
    shown = drain(fleet, domain("gpu-1", 1, "<hostdev mode='subsystem' type='mdev' model='vfio-pci'/>"))
    assert "? Not decided for 1 of 1 VMs" in shown
    assert "Not checked:" in shown
    assert "name its model below (hostdev0=<device model>), or leave it out below (hostdev0)" in shown
    left_out = drain(
        fleet, domain("gpu-1", 1, "<hostdev mode='subsystem' type='mdev' model='vfio-pci'/>"), without="hostdev0"
    )
    assert "Not checked" not in left_out


def test_a_drain_takes_files_and_questions_in_json(fleet: TestClient) -> None:
    files = [("file", ("a.xml", domain("one", 1))), ("file", ("b.xml", domain("one", 1) + domain("two", 1)))]
    shown = Page(fleet.post("/ui/drain", data={"vm": ""}, files=files)).text
    assert "All 3 VMs can move" in shown
    # VMs of one name are told apart.
    assert "one (2)" in shown
    question = f'{{"devices": [{{"model": "{NIC}", "release": "{ONE}", "profile": "vendor-a.com/p"}}]}}'
    shown = drain(fleet, question)
    assert "Can go to 1 host" in shown
    # It says on which host it runs: that one is no place to go to.
    leaving = drain(fleet, question.replace('{"devices"', '{"host": "new-1", "devices"'))
    assert "The source host new-1 is left out." in leaving
    assert "Can go nowhere" in leaving


def test_the_faults_of_all_texts_are_shown_at_once_and_nothing_is_lost(fleet: TestClient) -> None:
    wrong = '{"devices": [{"modl": "x", "values": 3}]}'
    shown = drain(fleet, wrong, source="nowhere", device="hostdev0", label="=x")
    assert "nothing was asked" in shown
    for fault in (
        "no host nowhere is registered",
        "must be <id>=<device model>, not hostdev0",
        "/devices/0/model is missing",
        "/devices/0/values must be an object",
        "label =x",
    ):
        assert fault in shown
    assert "modl" in shown
    assert "not valid JSON" in drain(fleet, "{")
    assert "cannot be read as a libvirt domain" in drain(fleet, "<domain><a></domain>")
    assert "has no <domain>" in drain(fleet, "hello")
    assert "has text before its first <domain>" in drain(fleet, "hello " + domain("a"))
    assert "Paste a libvirt domain" in drain(fleet)
    assert "No VM has net7. They have cpu, net0." in drain(fleet, domain("a"), without="net7")


def test_each_of_many_vms_is_judged_at_releases_that_implement_its_models(fleet: TestClient) -> None:
    forget_hosts(fleet)
    nic = {"model": NIC, "release": ONE, "profile": "vendor-a.com/p"}
    qemu = {"model": "qemu.org/virtio-net-pci", "release": OLD, "profile": MACHINE}
    vms = [{"id": "a", "devices": [nic] * 600}, {"id": "b", "devices": [qemu] * 600}]
    shown = drain(fleet, json.dumps({"vms": vms}))
    assert "Asked about 3 releases" in shown
    assert "a 600 devices ✓ Can go to 1 release" in shown
    assert "b 600 devices ✓ Can go to 2 releases" in shown


def test_comments_between_domains_cost_next_to_nothing(fleet: TestClient) -> None:
    assert "All 1 VM" not in drain(fleet, "<!---->" * 5_000 + "x" + domain("a"))
    assert "The VM can move" in drain(
        fleet, "<!-- a --> <?xml version='1.0'?>" * 500 + domain("a", 1) + "<!---->" * 5_000
    )


@pytest.mark.parametrize("charset", ["undefined", "punycode", "unicode_escape"])
def test_a_form_in_another_charset_is_refused(fleet: TestClient, charset: str) -> None:
    headers = {"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"}
    body = b'--x\r\nContent-Disposition: form-data; name="vm"\r\n\r\n\\ud800\r\n--x--\r\n'
    for path in ("/ui/drain", "/ui/publish"):
        assert fleet.post(path, content=body, headers=headers).status_code == 400


@pytest.mark.parametrize(
    "hostile",
    [
        domain(SCRIPT.replace("<", "&lt;").replace(">", "&gt;")),
        '{"devices": [{"id": "<script>alert(1)</script>", "model": "a.com/b"}]}',
        "\ud800",
        '{"vms": 3}',
        '{"vms": [3]}',
        "[" * 2000,
        '<!DOCTYPE d [<!ENTITY a "b">]><domain>&a;</domain>',
        domain("many") * 50,
    ],
)
def test_hostile_texts_get_an_answer_that_is_escaped(fleet: TestClient, hostile: str) -> None:
    body = f"vm={hostile.encode('utf-8', 'surrogatepass').hex(' ').upper().replace(' ', '%')}".replace("vm=", "vm=%", 1)
    response = fleet.post("/ui/drain", content=body, headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert response.status_code in {200, 400}
    assert SCRIPT not in response.text


def test_a_form_that_is_too_large_or_none_is_refused(fleet: TestClient) -> None:
    assert fleet.post("/ui/drain", data={"vm": "x" * 1_100_000}).status_code == 413
    broken = {"Content-Type": "multipart/form-data; boundary=x"}
    assert fleet.post("/ui/drain", content=b"\xff", headers=broken).status_code == 400
    assert fleet.post("/ui/drain", content=b"{}", headers={"Content-Type": "application/json"}).status_code == 200


def test_without_hosts_a_drain_asks_about_releases(fleet: TestClient) -> None:
    forget_hosts(fleet)
    shown = drain(fleet, domain("a", 1))
    assert "Asked about 2 releases" in shown
    assert "No host is registered" in text(fleet, "/ui/hosts")
    assert "No host is registered" in text(fleet, "/ui/map")


def test_the_home_page_begins_with_a_finished_verdict(fleet: TestClient) -> None:
    page = Page(fleet.get("/"))
    assert "See the whole answer" in page.text
    assert "4 hosts of 3 kinds" in page.text
    assert any(link.startswith("/ui/ask?model=") for link in page.links)
    # Registrations of hosts are no publications.
    assert "host registered" not in page.text
