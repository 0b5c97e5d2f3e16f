"""The command adapter nova: the lines for nova.conf, and what the filter would decide."""

import json
from pathlib import Path

import pytest

from app.cli.client import Registry
from tests.adapters.conftest import NEW, NIC, OLD, PROFILE, fill
from tests.cli.conftest import Run, api, run, service  # noqa: F401 (fixtures)

SPECS = ("--extra-spec", f"dpr:nic0.model={NIC}", "--extra-spec", f"dpr:nic0.profile={PROFILE}")
_MODULE = "profile_registry_client.adapters.nova"


@pytest.fixture
def filled(api: Registry) -> None:  # noqa: F811 (the fixture)
    fill(api)


def test_the_lines_keep_the_filters_that_are_in_use(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setenv("REGISTRY_ADAPTER_ASK_SECONDS", "2")
    monkeypatch.setenv("REGISTRY_ADAPTER_POLICY", "permissive")
    conf = tmp_path / "nova.conf"
    conf.write_text(
        "[DEFAULT]\nenabled_filters = NotThis\n[filter_scheduler]\n# enabled_filters = Comment\n"
        "enabled_filters = Earlier\nenabled_filters = ComputeFilter,\n  JsonFilter\n\n"
        "available_filters = nova.scheduler.filters.all_filters\navailable_filters = ours.Filter\n[other]\n"
    )
    done = run("adapter", "nova", "--config", str(conf))
    assert done.exit_code == 0
    assert done.output.splitlines() == [
        "[filter_scheduler]",
        "available_filters = nova.scheduler.filters.all_filters",
        "available_filters = ours.Filter",
        f"available_filters = {_MODULE}.DeviceProfileFilter",
        "enabled_filters = ComputeFilter,JsonFilter,DeviceProfileFilter",
        f"weight_classes = nova.scheduler.weights.all_weighers,{_MODULE}.DeviceProfileWeigher",
        "",
        "[device_profile_registry]",
        "url = http://testserver",
        "timeout = 2.0",
        "policy = permissive",
    ]
    # What has our lines already gets the same ones.
    conf.write_text(done.output)
    assert run("adapter", "nova", "--config", str(conf)).output == done.output
    own = json.loads(run("adapter", "nova", "--config", str(conf), "--json").output)
    assert own["filter_scheduler"]["enabled_filters"] == ["ComputeFilter", "JsonFilter", "DeviceProfileFilter"]
    assert "token" not in done.output


@pytest.mark.usefixtures("filled")
def test_it_says_whether_hosts_are_registered(run: Run) -> None:  # noqa: F811
    done = run("adapter", "nova", "--host", "new-1", "--host", "old-1")
    assert done.exit_code == 0
    assert done.output.splitlines() == [
        "host\tstate\treleases",
        f"new-1\tregistered\t{NEW}",
        f"old-1\tregistered\t{OLD}",
    ]
    done = run("adapter", "nova", "--host", "gone", "--json")
    assert (done.exit_code, json.loads(done.output)) == (1, {"hosts": {"gone": None}})


@pytest.mark.usefixtures("filled")
def test_it_explains_what_the_filter_decides(run: Run) -> None:  # noqa: F811
    done = run("adapter", "nova", "--host", "new-1", "--host", "old-1", *SPECS)
    assert done.exit_code == 0
    _, new, old = done.output.splitlines()
    assert new == "new-1\tallowed\tit can re-create all devices"
    assert old.startswith("old-1\trefused\tnic0: The profile sets num-queues=8")
    done = run("adapter", "nova", "--host", "old-1", *SPECS, "--source-host", "new-1", "--json")
    assert done.exit_code == 1
    (answer,) = json.loads(done.output)["hosts"]
    assert (answer["host"], answer["allowed"]) == ("old-1", False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--extra-spec", "x=y"), "no effect without --host"),
        (("--host", "a", "--extra-spec", "x"), "must be KEY=VALUE"),
        (("--host", "a", "--extra-spec", "x=y"), "lets the VM pass to every host"),
        (("--host", "a", "--source-host", "b"), "no effect without --extra-spec"),
        (("--host", "a", "--config", "/dev/null"), "no effect together with --host"),
        (("--config", "/nowhere"), "/nowhere cannot be read: No such file or directory"),
    ],
)
def test_options_that_do_not_fit_are_refused(run: Run, options: tuple[str, ...], message: str) -> None:  # noqa: F811
    done = run("adapter", "nova", *options)
    assert done.exit_code == 2
    assert message in done.output


def test_a_setting_that_is_wrong_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    monkeypatch.setenv("REGISTRY_ADAPTER_POLICY", "lenient")
    done = run("adapter", "nova")
    assert done.exit_code == 2
    assert "REGISTRY_ADAPTER_POLICY" in done.output
