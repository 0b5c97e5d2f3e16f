"""The files of deploy/kubernetes-scheduler: they fit kube-scheduler, the command and each other, and are valid."""

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from typer.testing import CliRunner

from app import VERSION
from app.adapters.asking import ASK_SECONDS
from app.adapters.kubernetes_api import API_SECONDS
from app.cli.command import command
from tests.adapters.kubernetes import INSTALLED, faults
from tests.running.conftest import ROOT

FOLDER = ROOT / "deploy" / "kubernetes-scheduler"
NAMESPACE = "device-profiles"
NAME = "device-profile-scheduler"
# Fields of k8s.io/kube-scheduler/config/v1: kube-scheduler decodes strictly. No package has their schema.
_CONFIGURATION = {"apiVersion", "kind", "leaderElection", "percentageOfNodesToScore", "profiles", "extenders"}
_LEADER = {"leaderElect", "resourceName", "resourceNamespace"}
_EXTENDER = {
    *("urlPrefix", "filterVerb", "prioritizeVerb", "weight", "nodeCacheCapable", "ignorable", "httpTimeout"),
    *("preemptVerb", "bindVerb", "enableHTTPS", "tlsConfig", "managedResources"),
}
_NEEDS_KUBECTL = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")


@pytest.fixture(scope="module")
def built() -> Mapping[tuple[str, str], Any]:
    """The resources that kubectl apply --kustomize would apply, by kind and name."""
    return _built(FOLDER)


def _built(folder: Path) -> Mapping[tuple[str, str], Any]:
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=True)
    return {(item["kind"], item["metadata"]["name"]): item for item in yaml.safe_load_all(done.stdout)}


def pod(built: Mapping[tuple[str, str], Any], name: str) -> Any:
    """Return the pod of a Deployment."""
    return built["Deployment", name]["spec"]["template"]["spec"]


def configuration(built: Mapping[tuple[str, str], Any]) -> Any:
    """Return the configuration that kube-scheduler reads."""
    (item,) = [item for (kind, name), item in built.items() if kind == "ConfigMap" and "configuration" in name]
    (text,) = item["data"].values()
    return yaml.safe_load(text)


@INSTALLED
@_NEEDS_KUBECTL
def test_all_resources_are_valid_by_the_published_schemas(built: Mapping[tuple[str, str], Any]) -> None:
    assert {name: found for name, item in built.items() if (found := faults(item))} == {}
    assert faults({**built["Namespace", NAMESPACE], "spce": {}}) != []


@_NEEDS_KUBECTL
def test_without_the_extender_nothing_is_scheduled(built: Mapping[tuple[str, str], Any]) -> None:
    document = configuration(built)
    assert document["apiVersion"] == "kubescheduler.config.k8s.io/v1"
    assert set(document) == _CONFIGURATION
    assert set(document["leaderElection"]) == _LEADER
    (extender,) = document["extenders"]
    assert set(extender) <= _EXTENDER
    assert extender["ignorable"] is False
    assert extender["weight"] > 0
    # Otherwise VMs without such a resource would go to any node.
    assert "managedResources" not in extender
    # All nodes are asked about.
    assert document["percentageOfNodesToScore"] == 100
    # It answers that a node is not chosen, before kube-scheduler gives up.
    assert int(extender["httpTimeout"].removesuffix("s")) > ASK_SECONDS + API_SECONDS
    assert [profile["schedulerName"] for profile in document["profiles"]] == [NAME]


@_NEEDS_KUBECTL
def test_kube_scheduler_asks_the_extender_of_its_own_pod(built: Mapping[tuple[str, str], Any]) -> None:
    containers = {container["name"]: container for container in pod(built, NAME)["containers"]}
    (extender,) = configuration(built)["extenders"]
    arguments = containers["extender"]["args"]
    port = arguments[arguments.index("--port") + 1]
    assert extender["urlPrefix"] == f"http://127.0.0.1:{port}"
    # Nobody else can ask: it listens on 127.0.0.1.
    assert "--host" not in arguments
    (check,) = [word for word in containers["extender"]["livenessProbe"]["exec"]["command"] if "urlopen" in word]
    assert f"http://127.0.0.1:{port}/healthz" in check
    (option,) = [word for word in containers["kube-scheduler"]["command"] if word.startswith("--config=")]
    (mount,) = [mount for mount in containers["kube-scheduler"]["volumeMounts"] if mount["name"] == "configuration"]
    assert option == f"--config={mount['mountPath']}/scheduler.yaml"
    (volume,) = [volume for volume in pod(built, NAME)["volumes"] if volume["name"] == "configuration"]
    assert ("ConfigMap", volume["configMap"]["name"]) in built


@_NEEDS_KUBECTL
def test_the_extender_has_no_account(built: Mapping[tuple[str, str], Any]) -> None:
    assert pod(built, NAME)["automountServiceAccountToken"] is False
    mounts = {
        container["name"]: {mount["name"] for mount in container.get("volumeMounts", [])}
        for container in pod(built, NAME)["containers"]
    }
    assert mounts == {"kube-scheduler": {"configuration", "account"}, "extender": set()}


@_NEEDS_KUBECTL
def test_the_scheduler_may_use_the_lease_that_it_asks_for(built: Mapping[tuple[str, str], Any]) -> None:
    leader = configuration(built)["leaderElection"]
    role = built["Role", f"{NAME}-lease"]
    assert role["metadata"]["namespace"] == leader["resourceNamespace"]
    (update,) = [rule for rule in role["rules"] if "update" in rule["verbs"]]
    # Kustomize replaces names that it takes for references.
    assert update["resourceNames"] == [leader["resourceName"]]
    assert built["Deployment", NAME]["spec"]["replicas"] > built["PodDisruptionBudget", NAME]["spec"]["minAvailable"]


@_NEEDS_KUBECTL
def test_the_labels_account_may_do_what_it_needs_and_no_more(built: Mapping[tuple[str, str], Any]) -> None:
    role = built["ClusterRole", "device-profile-labels"]
    assert role["rules"] == [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["list", "patch"]}]
    assert pod(built, "device-profile-labels")["serviceAccountName"] == "device-profile-labels"


@_NEEDS_KUBECTL
def test_every_binding_names_an_account_and_a_role_that_there_are(built: Mapping[tuple[str, str], Any]) -> None:
    given = {
        "system:kube-scheduler",
        "system:volume-scheduler",
        "extension-apiserver-authentication-reader",
    }
    bindings = [item for (kind, _), item in built.items() if kind.endswith("Binding")]
    assert len(bindings) == 5
    for binding in bindings:
        (subject,) = binding["subjects"]
        account = built["ServiceAccount", subject["name"]]
        assert subject["namespace"] == account["metadata"]["namespace"] == NAMESPACE
        role = binding["roleRef"]
        assert role["name"] in given or (role["kind"], role["name"]) in built


def _containers(built: Mapping[tuple[str, str], Any]) -> Sequence[Any]:
    return [container for kind, name in built if kind == "Deployment" for container in pod(built, name)["containers"]]


@_NEEDS_KUBECTL
def test_every_container_is_hardened_and_runs_a_command_that_there_is(built: Mapping[tuple[str, str], Any]) -> None:
    for container in _containers(built):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"].keys() == {"requests", "limits"}
        if container["name"] == "kube-scheduler":
            continue
        assert container["image"] == f"device-profile-registry:{VERSION}"
        assert CliRunner().invoke(command(), [*container["args"], "--help"]).exit_code == 0
        source = container["envFrom"][0]["configMapRef"]["name"]
        assert built["ConfigMap", source]["data"].keys() == {"REGISTRY_URL"}
        assert container["envFrom"][1]["secretRef"]["optional"] is True
    user = re.search(r"USER (\d+):(\d+)", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    assert user is not None
    for name in (NAME, "device-profile-labels"):
        context = pod(built, name)["securityContext"]
        assert (str(context["runAsUser"]), str(context["runAsGroup"])) == user.groups()
        # Namespace: restricted.
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert context["runAsNonRoot"] is True


@_NEEDS_KUBECTL
def test_the_overlay_of_the_guide_names_images_and_the_registry(tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "pages" / "adapters" / "kubernetes.md").read_text(encoding="utf-8")
    (overlay,) = re.findall(r"```yaml\n(# kustomization\.yaml\n.*?)```", guide, re.DOTALL)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "kustomization.yaml").write_text(overlay)
    (tmp_path / "deploy").symlink_to(FOLDER.parent)
    resources = _built(tmp_path / "mine")
    images = {container["name"]: container["image"] for container in _containers(resources)}
    ours = f"images.example/device-profile-registry:{VERSION}"
    assert images == {"kube-scheduler": "images.example/kube-scheduler:v1.34.1", "extender": ours, "labels": ours}
    sources = [container["envFrom"][0] for container in _containers(resources) if "envFrom" in container]
    (source,) = {entry["configMapRef"]["name"] for entry in sources}
    assert resources["ConfigMap", source]["data"] == {"REGISTRY_URL": "https://registry.example"}


@_NEEDS_KUBECTL
def test_all_resources_are_in_the_namespace(built: Mapping[tuple[str, str], Any]) -> None:
    elsewhere = {
        name: item["metadata"]["namespace"]
        for (_, name), item in built.items()
        if item["metadata"].get("namespace", NAMESPACE) != NAMESPACE
    }
    # Where the API server keeps it.
    assert elsewhere == {f"{NAME}-authentication": "kube-system"}
