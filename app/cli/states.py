"""profile-registry release, profile: lists them, and changes their states."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import quote

import typer

from app.cli import client, naming
from app.cli.importing import Override, print_answer
from app.cli.output import AsJson, print_json, print_line, print_table, refuse
from app.cli.planning import print_impact
from app.domain.values.state import State

releases = typer.Typer(
    help="""List releases, and change their states: verdicts warn of deprecated ones and refuse retired ones.

    Example:

        profile-registry release retire vendor-a.com/my-nic-firmware@2023.9 --dry-run
    """,
    no_args_is_help=True,
)
profiles = typer.Typer(
    help="""List profiles, and change their states: verdicts warn of deprecated ones and refuse retired ones.

    Example:

        profile-registry profile deprecate vendor-a.com/my-nic-2023 --dry-run
    """,
    no_args_is_help=True,
)

_Release = Annotated[str, typer.Argument(help="The release.", metavar="RELEASE", autocompletion=naming.releases)]
_Profile = Annotated[str, typer.Argument(help="The profile.", metavar="PROFILE", autocompletion=naming.profiles)]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Show which verdicts this would flip; store nothing.")]
_InState = Annotated[State | None, typer.Option(help="Only those in this state. Default: all but drafts.")]


@dataclass(frozen=True, slots=True)
class _Change:
    """A change of state, as a command asks for it."""

    path: str
    name: str
    state: State
    dry_run: bool
    as_json: bool
    override: str | None = None

    def run(self) -> None:
        """Change the state, or show what that would flip; exits with an error if the registry refuses it."""
        parameters = {"dry_run": "true"} if self.dry_run else {}
        if self.override is not None:
            parameters["override"] = self.override
        try:
            with client.Registry() as registry:
                path = f"{self.path}/{quote(self.name, safe='/@:')}"
                answer = registry.patch(path, {"state": self.state.value}, **parameters)
        except client.RegistryError as error:
            refuse(error, is_publication=True)
        if self.as_json:
            print_json(answer)
        else:
            self._print(answer)

    def _print(self, answer: Mapping[str, Any]) -> None:
        name, before, state = (answer[field] for field in ("name", "before", "state"))
        if before == state:
            print_line(f"{name} is {state} already")
            return
        print_line(f"{name}: {'would be ' if self.dry_run else ''}{state}, was {before}")
        if answer.get("impact") is not None:
            print_impact(answer["impact"], f"{name} → {state}")
        if answer.get("publication") is not None:
            print_answer(name, answer["publication"])


@releases.command("list", short_help="List the releases.")
def list_releases(
    implementation: Annotated[str | None, typer.Option(help="Only releases of this implementation.")] = None,
    model: Annotated[str | None, typer.Option(help="Only releases that implement this device model.")] = None,
    state: _InState = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List the releases by implementation, then in the order published.

    Example:

        profile-registry release list --implementation qemu.org/qemu-system-x86_64
    """
    listed = _listed("/releases", {"implementation": implementation, "model": model, "state": state})
    if as_json:
        print_json(listed)
        return
    rows = [
        (
            release["release"],
            release["state"],
            f"{release['model_count']:,}",
            "no list" if release["profile_count"] is None else f"{release['profile_count']:,}",
        )
        for release in listed
    ]
    print_table(("release", "state", "device models", "profiles"), rows)


@releases.command("deprecate", short_help="Deprecate a release: verdicts on it warn.")
def deprecate_release(name: _Release, *, dry_run: _DryRun = False, as_json: AsJson = False) -> None:
    """Deprecate a release: verdicts on it warn. release publish takes it back.

    Exit status 0 changed, or it was so already; 1 refused, 2 could not ask.

    Example:

        profile-registry release deprecate vendor-a.com/my-nic-firmware@2023.9
    """
    _Change("/releases", name, State.DEPRECATED, dry_run, as_json).run()


@releases.command("retire", short_help="Retire a release: verdicts refuse it as a destination.")
def retire_release(name: _Release, *, dry_run: _DryRun = False, as_json: AsJson = False) -> None:
    """Retire a release: verdicts refuse it as a destination, and warn where it is the source.

    Look at --dry-run first. release publish takes it back. Exit status 0 changed, or it was so already; 1 refused, 2
    could not ask.

    Example:

        profile-registry release retire vendor-a.com/my-nic-firmware@2023.9 --dry-run
    """
    _Change("/releases", name, State.RETIRED, dry_run, as_json).run()


@releases.command("publish", short_help="Publish a draft, or one that is deprecated or retired.")
def publish_release(
    name: _Release, override: Override = None, *, dry_run: _DryRun = False, as_json: AsJson = False
) -> None:
    """Take a release back to the state published: a deprecated or retired one, or a draft.

    Exit status 0 published, or it was already; 1 refused, 2 could not ask.

    Example:

        profile-registry release publish vendor-a.com/my-nic-firmware@2023.9
    """
    _Change("/releases", name, State.PUBLISHED, dry_run, as_json, override).run()


@profiles.command("list")
def list_profiles(
    vendor: Annotated[str | None, typer.Option(help="Only profiles of this vendor.")] = None,
    model: Annotated[str | None, typer.Option(help="Only profiles that name this device model.")] = None,
    state: _InState = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List the profiles by name.

    Example:

        profile-registry profile list --vendor vendor-a.com
    """
    listed = _listed("/profiles", {"vendor": vendor, "model": model, "state": state})
    if as_json:
        print_json(listed)
        return
    rows = [(profile["name"], profile["state"], profile["extends"] or "") for profile in listed]
    print_table(("profile", "state", "extends"), rows)


@profiles.command("deprecate", short_help="Deprecate a profile: verdicts on it warn.")
def deprecate_profile(name: _Profile, *, dry_run: _DryRun = False, as_json: AsJson = False) -> None:
    """Deprecate a profile: verdicts on it warn. profile publish takes it back.

    Exit status 0 changed, or it was so already; 1 refused, 2 could not ask.

    Example:

        profile-registry profile deprecate vendor-a.com/my-nic-2023
    """
    _Change("/profiles", name, State.DEPRECATED, dry_run, as_json).run()


@profiles.command("retire", short_help="Retire a profile: verdicts refuse it.")
def retire_profile(name: _Profile, *, dry_run: _DryRun = False, as_json: AsJson = False) -> None:
    """Retire a profile: verdicts refuse it.

    Look at --dry-run first. profile publish takes it back. Exit status 0 changed, or it was so already; 1 refused, 2
    could not ask.

    Example:

        profile-registry profile retire vendor-a.com/my-nic-2023 --dry-run
    """
    _Change("/profiles", name, State.RETIRED, dry_run, as_json).run()


@profiles.command("publish", short_help="Publish a draft, or one that is deprecated or retired.")
def publish_profile(name: _Profile, *, dry_run: _DryRun = False, as_json: AsJson = False) -> None:
    """Take a profile back to the state published: a deprecated or retired one, or a draft.

    Exit status 0 published, or it was already; 1 refused, 2 could not ask.

    Example:

        profile-registry profile publish vendor-a.com/my-nic-2023
    """
    _Change("/profiles", name, State.PUBLISHED, dry_run, as_json).run()


def _listed(path: str, filters: Mapping[str, str | None]) -> list[Any]:
    """Return the items of a list; exits with an error if they cannot be read."""
    try:
        with client.Registry() as registry:
            return list(registry.items(path, **{name: value for name, value in filters.items() if value is not None}))
    except client.RegistryError as error:
        refuse(error)
