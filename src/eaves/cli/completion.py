"""``eaves completion``: scripts for bash, zsh and fish, made by click."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command("completion", epilog="Example:\n\n\b\n  source <(eaves completion bash)")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print a completion script for SHELL."""
    from eaves.cli.main import command as root

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(root, {}, "eaves", "_EAVES_COMPLETE").source())
