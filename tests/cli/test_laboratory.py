"""A vendor's laboratory publishes what the tools say of its product, and what is published answers questions."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.cli.client import Registry
from tests.cli.conftest import Run
from tests.cli.test_host_report import DEVLINK, MDEV, VDPA


@pytest.fixture
def lab(run: Run, api: Registry, tmp_path: Path) -> Run:
    """Return the command, with a vendor and with what the tools printed in files."""
    for vendor in ("acme.com", "virtio-spec.org"):
        api.put(f"/vendors/{vendor}", {})
    descriptor = {"description": "d", "type": "fs", "binary": "/v", "features": ["migrate-precopy", "new-one"]}
    for name, printed in {"vdpa": VDPA, "mdev": MDEV, "devlink": DEVLINK, "descriptor": descriptor}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(printed))

    def in_folder(*arguments: str, stdin: str | None = None) -> Any:
        return run(*(argument.replace("@@", f"{tmp_path}/") for argument in arguments), stdin=stdin)

    return in_folder


def published(api: Registry, release: str) -> dict[str, Any]:
    """Return the variable sets of a release, by model."""
    return {
        entry["model"]: api.get(f"/variable-sets/{entry['digest']}")
        for entry in api.get(f"/releases/{release}")["models"]
    }


def test_a_vdpa_card_is_published_with_its_features(lab: Run, api: Registry) -> None:
    arguments = ("import", "vdpa", "--file", "@@vdpa.json", "--release", "acme.com/dpu@1")
    refused = lab(*arguments)
    assert (refused.exit_code, "choose one with --device: pci/0000:3b:00.2, vdpasim_blk" in refused.stderr) == (2, True)
    assert lab(*arguments, "--device", "none").exit_code == 2
    done = lab(*arguments, "--device", "pci/0000:3b:00.2")
    assert done.exit_code == 0, done.output
    (card,) = published(api, "acme.com/dpu@1").values()
    assert card["model"] == "acme.com/vdpa-net"
    assert card["migratable"] == "unknown"
    variables = card["variables"]
    assert "allowed_values" not in variables["f.mq"]
    assert variables["f.ring_reset"]["init_value"]
    assert variables["f.guest_uso4"]["allowed_values"] == [False]
    assert variables["max_vqp"]["allowed_values"] == ["1-4"]
    assert variables["mac"]["scope"] == "instance"
    question = {"model": card["model"], "source": "acme.com/dpu@1", "destination": "acme.com/dpu@1"}
    assert api.get("/compatibility", **question, value=["max_vqp=4", "f.mq=on"])["results"][0]["compatible"]
    assert not api.get("/compatibility", **question, value="max_vqp=5")["results"][0]["compatible"]
    # Where the specification's model is published, it is meant.
    feature = {"f.csum": {"type": "bool", "init_value": False, "off_value": False}}
    body = {"models": {"virtio-spec.org/block": {"variables": feature}}}
    api.put("/releases/virtio-spec.org/virtio@1", body)
    disk = lab(*arguments[:-1], "acme.com/disk@1", "--device", "vdpasim_blk", "--json")
    assert list(json.loads(disk.stdout)["models"]) == ["virtio-spec.org/block"]
    assert lab(*arguments, "--device", "pci/0000:3b:00.2").exit_code == 0


def test_a_management_device_of_two_classes_is_published_by_class(lab: Run, api: Registry) -> None:
    both = {"mgmtdev": {"a": {"supported_classes": ["net", "block"], "max_supported_vqs": 3, "dev_features": ["MQ"]}}}
    arguments = ("import", "vdpa", "--file", "-", "--release", "acme.com/x@1")
    assert "choose one with --class: net, block" in lab(*arguments, stdin=json.dumps(both)).stderr
    assert lab(*arguments, "--class", "block", stdin=json.dumps(both)).exit_code == 0
    assert list(published(api, "acme.com/x@1")) == ["acme.com/vdpa-block"]
    without = {"mgmtdev": {"a": {"supported_classes": ["net"]}}}
    assert "does not state its features" in lab(*arguments, stdin=json.dumps(without)).stderr


def test_a_type_of_mediated_devices_is_published(lab: Run, api: Registry) -> None:
    arguments = (
        "import",
        "mdev",
        "--file",
        "@@mdev.json",
        "--release",
        "acme.com/vgpu/m10-0q@535",
        "--model",
        "acme.com/vgpu",
    )
    assert "choose one with --type: nvidia-36 or GRID M10-0Q" in lab(*arguments).stderr
    assert lab(*arguments, "--type", "GRID M10-0Q", "--dry-run").exit_code == 0
    assert api.find("/releases/acme.com/vgpu/m10-0q@535") is None
    assert lab(*arguments, "--type", "nvidia-36").exit_code == 0
    (kind,) = published(api, "acme.com/vgpu/m10-0q@535").values()
    assert kind["variables"]["type-name"]["init_value"] == "GRID M10-0Q"
    assert not kind["variables"]["type-name"]["settable"]
    assert lab(*[*arguments[:5], "acme.com/vgpu/m10-2b@535", *arguments[6:]], "--type", "GRID M10-2B").exit_code == 0
    answer = api.get(
        "/compatibility",
        model="acme.com/vgpu",
        source="acme.com/vgpu/m10-0q@535",
        destination=["acme.com/vgpu/m10-0q@535", "acme.com/vgpu/m10-2b@535"],
    )
    assert [result["compatible"] for result in answer["results"]] == [True, False]


def test_a_firmware_is_published_and_reads_its_own_state_alone(lab: Run, api: Registry, tmp_path: Path) -> None:
    arguments = ("import", "devlink", "--file", "@@devlink.json", "--device", "pci/0000:3b:00.0", "--release")
    first, second = (f"acme.com/connect/MT_0000000834@28.{minor}.1000" for minor in (41, 42))
    assert lab(*arguments, first).exit_code == 0
    newer = (tmp_path / "devlink.json").read_text().replace("28.41.1000", "28.42.1000")
    assert lab("import", "devlink", "--file", "-", *arguments[4:], second, stdin=newer).exit_code == 0
    wrong = lab(*arguments, first.replace("28.41", "28.99"))
    assert (wrong.exit_code, f"name the release {first}" in wrong.stderr) == (2, True), wrong.stderr
    (firmware,) = published(api, first).values()
    assert firmware["model"] == "acme.com/connect-vf"
    assert firmware["variables"]["psid"]["init_value"] == "MT_0000000834"
    question = {"model": "acme.com/connect-vf", "source": first, "destination": [first, second]}
    assert [result["compatible"] for result in api.get("/compatibility", **question)["results"]] == [True, False]
    board = lab(*arguments[:5], "pci/0000:af:00.0", "--release", "acme.com/nic@216.1.2", "--json")
    assert list(json.loads(board.stdout)["models"]["acme.com/nic-vf"]["variables"]) == ["board"]


def test_a_vhost_user_program_is_published(lab: Run, api: Registry) -> None:
    arguments = ("import", "vhost-user-descriptor", "@@descriptor.json", "--release", "acme.com/fsd@1")
    assert lab(*arguments).exit_code == 0
    (program,) = published(api, "acme.com/fsd@1").values()
    assert (program["model"], program["migratable"]) == ("acme.com/vhost-user-fs", True)
    features = {name: variable["init_value"] for name, variable in program["variables"].items()}
    assert features["migrate-precopy"]
    assert features["new-one"]
    assert not features["separate-options"]
    old = json.dumps({"description": "d", "type": "fs", "binary": "/v"})
    assert lab(*arguments[:2], "-", "--release", "acme.com/fsd@0", stdin=old).exit_code == 0
    assert published(api, "acme.com/fsd@0")["acme.com/vhost-user-fs"]["migratable"] is False


@pytest.mark.parametrize("kind", ["vdpa", "mdev", "devlink"])
@pytest.mark.parametrize(
    "text", ["", "{", "[]", "1", '{"mgmtdev": 1, "info": 1}', '[{"a": 1}]', '{"info": {"a": {"versions": 1}}}']
)
def test_what_no_tool_prints_is_refused(lab: Run, kind: str, text: str) -> None:
    refused = lab("import", kind, "--file", "-", "--release", "acme.com/x@1", stdin=text)
    assert refused.exit_code == 2
    assert refused.stderr.strip()
    assert "Traceback" not in refused.output
    descriptor = lab("import", "vhost-user-descriptor", "-", "--release", "acme.com/x@1", stdin=text)
    assert (descriptor.exit_code, "Traceback" in descriptor.output) == (2, False)


def test_a_wrong_name_is_refused_before_a_tool_is_asked(lab: Run) -> None:
    for kind in ("vdpa", "mdev", "devlink"):
        refused = lab("import", kind, "--release", "acme.com")
        assert (refused.exit_code, "--release acme.com" in refused.stderr) == (2, True)
