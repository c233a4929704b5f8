"""kubectl's global options at any place, and examples in the help that can be typed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click
import pytest

from eaves.cli import main, plugin
from eaves.cli.plugin_frame import move_global_options, print_completions


@pytest.mark.parametrize(
    ("given", "moved"),
    [
        (["why", "-n", "shop", "app/till"], ["-n", "shop", "why", "app/till"]),
        (["flows", "web", "--context=edge"], ["--context=edge", "flows", "web"]),
        (["-n", "shop", "why", "web"], ["-n", "shop", "why", "web"]),
        (["vnc", "plc", "--port", "5901"], ["vnc", "plc", "--port", "5901"]),
        (["approve", "--", "-n", "x"], ["approve", "--", "-n", "x"]),
        (["why", "-n"], ["why", "-n"]),
    ],
)
def test_global_options_stand_where_they_are_written(given: list[str], moved: list[str]) -> None:
    assert move_global_options(given) == moved


def list_commands(group: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield words, group
    if isinstance(group, click.Group):
        context = click.Context(group)
        for name in group.list_commands(context):
            found = group.get_command(context, name)
            assert found is not None
            yield from list_commands(found, (*words, name))


def list_examples(program: str, root: click.Command) -> Iterator[tuple[str, list[str]]]:
    """(command, arguments) of every line of a help text that calls the program."""
    for words, command in list_commands(root):
        text = f"{command.help or ''}\n{command.epilog or ''}"
        for line in re.findall(rf"^ +{program} (.+)$", text, re.MULTILINE):
            typed = re.split(r" [|>] | <<< ", line)[0]
            yield " ".join(words), shlex.split(typed, comments=True)


EXAMPLES = [
    *((plugin.command, *example) for example in list_examples("kubectl eaves", plugin.command)),
    *((main.command, *example) for example in list_examples("eaves", main.command)),
]


@pytest.mark.parametrize(("command", "shown_by", "arguments"), EXAMPLES, ids=lambda value: str(value)[:60])
def test_examples_in_help_are_understood(
    command: click.Command, shown_by: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = command.make_context("eaves", arguments)
    while isinstance(command, click.Group):
        _, found, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert found is not None, (shown_by, arguments)
        monkeypatch.setattr(click.Path, "convert", lambda _self, value, _parameter, _context: value)
        command, context = found, found.make_context(found.name, rest, parent=context)


def test_every_command_of_the_plugin_has_an_example() -> None:
    shown = {words for words, _ in list_examples("kubectl eaves", plugin.command)}
    leaves = {
        " ".join(words) for words, command in list_commands(plugin.command) if not isinstance(command, click.Group)
    }
    assert leaves - shown == set()


def test_completion_names_commands_and_their_options(capsys: pytest.CaptureFixture[str]) -> None:
    print_completions(plugin.command, ["con"])
    first, directive = capsys.readouterr().out.splitlines()
    assert first.startswith("console\tOpen the serial console")
    assert directive == ":4"
    print_completions(plugin.command, ["vnc", "--p"])
    assert capsys.readouterr().out.startswith("--port\t")
