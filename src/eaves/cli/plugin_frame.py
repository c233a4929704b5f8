"""The frame of ``kubectl eaves``: kubectl's global options at any place, and the names that shells complete.

kubectl asks ``kubectl_complete-eaves`` for completions, as it does for every plugin, so that whoever completes kubectl completes this.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import click
from click.shell_completion import ShellComplete

from eaves.cli.kubectl import Kubectl
from eaves.kit.errors import EavesError

_GLOBAL_OPTIONS = ("--kubeconfig", "--context", "--namespace", "-n")
_NO_SPACE, _NO_FILES = 2, 4
"""cobra's ShellCompDirectiveNoSpace and ShellCompDirectiveNoFileComp."""

Complete = Callable[[click.Context, click.Parameter, str], list[str]]


class PluginGroup(click.Group):
    """Takes kubectl's global options also behind a subcommand, as kubectl does."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, move_global_options(args))


def move_global_options(arguments: Sequence[str]) -> list[str]:
    """The command line with the global options in front; what stands behind ``--`` is no option."""
    front: list[str] = []
    rest: list[str] = []
    left = list(arguments)
    while left:
        argument = left.pop(0)
        if argument == "--":
            rest += [argument, *left]
            break
        if argument in _GLOBAL_OPTIONS and left:
            front += [argument, left.pop(0)]
        elif argument.startswith(tuple(f"{name}=" for name in _GLOBAL_OPTIONS if name.startswith("--"))):
            front.append(argument)
        else:
            rest.append(argument)
    return [*front, *rest]


def make_kubectl(context: click.Context) -> Kubectl:
    """kubectl with the global options that the command line gives."""
    given = context.find_root().params
    named = (("--kubeconfig", "kubeconfig"), ("--context", "context_name"), ("-n", "namespace"))
    return Kubectl([part for option, name in named if given.get(name) for part in (option, given[name])])


def complete_names(resource: str, *prefixes: str) -> Complete:
    """Completes the names of what the cluster has, each with the prefixes. Without an answer there is nothing to offer."""

    def complete(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
        try:
            names = make_kubectl(context).names(resource)
        except EavesError:
            return []
        found = [f"{prefix}{name}" for prefix in prefixes or ("",) for name in names]
        return [name for name in found if name.startswith(incomplete)]

    return complete


def complete_machines(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Completes the names of virtual machines."""
    try:
        apps = make_kubectl(context).list("apps")
    except EavesError:
        return []
    names = [app["metadata"]["name"] for app in apps if app.get("spec", {}).get("type") == "VirtualMachine"]
    return [name for name in names if name.startswith(incomplete)]


def complete_objects(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Completes what ``why`` explains: ``app/NAME`` and ``edgenode/NAME``."""
    kind, slash, _ = incomplete.partition("/")
    if not slash:
        return [word for word in ("app/", "edgenode/") if word.startswith(kind)]
    if kind in ("app", "edgenode"):
        return complete_names(f"{kind}s", f"{kind}/")(context, parameter, incomplete)
    return []


def print_completions(command: click.Command, arguments: Sequence[str]) -> None:
    """Completions of the last argument in cobra's form: a line each with its help behind a tab, then a directive."""
    *before, incomplete = arguments or ("",)
    found = ShellComplete(command, {}, "kubectl eaves", "").get_completions(list(before), incomplete)
    for item in found:
        print(f"{item.value}\t{item.help}" if item.help else item.value)
    goes_on = any(item.value.endswith("/") for item in found)
    print(f":{_NO_FILES | _NO_SPACE if goes_on else _NO_FILES}")


def main() -> None:
    """Entry point of the program ``kubectl_complete-eaves``."""
    from eaves.cli.plugin import command

    print_completions(command, sys.argv[1:])
