"""profile-registry completion: prints the script with which a shell completes the command."""

import sys
from enum import StrEnum
from typing import Annotated

import typer


class Shell(StrEnum):
    """A shell that completes."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


_SCRIPTS = {
    # Bash breaks words at @, = and :, too, and replaces only what comes after; names of releases have an @.
    Shell.BASH: r"""_profile_registry_completion() {
    local line=${COMP_LINE:0:COMP_POINT} IFS=$' \t\n' words word kept
    word=${line##*[[:space:]]}
    read -ra words <<< "${line%"$word"}"
    kept=${word%"${word##*[@=:]}"}
    IFS=$'\n'
    COMPREPLY=($(env COMP_WORDS="$line" COMP_CWORD=${#words[@]} _PROFILE_REGISTRY_COMPLETE=complete_bash "$1"))
    COMPREPLY=("${COMPREPLY[@]#"$kept"}")
}

complete -o default -o nosort -F _profile_registry_completion profile-registry
""",
    Shell.ZSH: r"""#compdef profile-registry

_profile_registry_completion() {
    eval "$(env _TYPER_COMPLETE_ARGS="${words[1,$CURRENT]}" _PROFILE_REGISTRY_COMPLETE=complete_zsh profile-registry)"
}

# In a folder of $fpath this is the function itself, otherwise it is sourced.
if [[ $funcstack[1] == _profile-registry ]]; then
    _profile_registry_completion
else
    compdef _profile_registry_completion profile-registry
fi
""",
    Shell.FISH: (
        "complete --command profile-registry --no-files"
        ' --arguments "(env _PROFILE_REGISTRY_COMPLETE=complete_fish _TYPER_COMPLETE_FISH_ACTION=get-args'
        ' _TYPER_COMPLETE_ARGS=(commandline -cp) profile-registry)"'
        ' --condition "env _PROFILE_REGISTRY_COMPLETE=complete_fish _TYPER_COMPLETE_FISH_ACTION=is-args'
        ' _TYPER_COMPLETE_ARGS=(commandline -cp) profile-registry"\n'
    ),
}


def completion(shell: Annotated[Shell, typer.Argument(help="The shell.", show_default=False)]) -> None:
    r"""Print the script with which a shell completes commands, options, their values, and names of the registry.

    Names of releases, profiles, device models, hosts and vendors come from REGISTRY_URL, if it answers within a second.

    Example:

        source <(profile-registry completion bash)
        profile-registry completion zsh > "${fpath[1]}/_profile-registry"
        profile-registry completion fish > ~/.config/fish/completions/profile-registry.fish
    """
    sys.stdout.write(_SCRIPTS[shell])
