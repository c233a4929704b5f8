"""The command ``eaves``. Subcommands are imported when they are called, so that a node never loads the controller's code."""

from __future__ import annotations

import importlib
import sys

import click

from eaves import __version__
from eaves.cli import failures

_COMMANDS = {
    "controller": ("eaves.cli.controller", "Run the controller: the operator API and the device gateway."),
    "node": ("eaves.cli.node", "Run this machine as an edge node, or look at it."),
    "completion": ("eaves.cli.completion", "Print a shell completion script."),
}


class LazyGroup(click.Group):
    """A group whose commands live in modules of their own, each with a click command named ``command``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(_COMMANDS[cmd_name][0])
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # Listing must not import every module only to read its help line.
        with formatter.section("Commands"):
            formatter.write_dl([(name, _COMMANDS[name][1]) for name in sorted(_COMMANDS)])


EXAMPLES = """Examples:

\b
  eaves controller run --config /etc/eaves/controller.toml
  eaves node status
  eaves completion bash > /etc/bash_completion.d/eaves
"""


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXAMPLES)
@click.version_option(__version__, prog_name="eaves")
def command() -> None:
    """Eaves turns edge hardware into one place to run containers and virtual machines, managed with kubectl."""


def main() -> None:
    """Entry point; errors of ours are one line and the remedy, exit status 1."""
    sys.exit(failures.run_command(command, "eaves"))
