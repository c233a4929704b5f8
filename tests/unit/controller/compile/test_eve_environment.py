"""Environment and command of a container as an EVE device takes them."""

from __future__ import annotations

import shlex
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves.controller.compile.eve_environment import COMMAND_FILE, escape_environment, want_command
from eaves.testing.eve_user_data import read_like_eve

VALUES = [
    "plain",
    "hello world",
    " spaces at both ends ",
    'say "hi"',
    '"',
    "C:\\new\\table",
    "ends with a backslash\\",
    "line 1\nline 2\n",
    "it's $HOME `id` # no comment",
    "",
    " ",
    "ä€😀",
]


def _read(value: str, *, by_shell: bool = False) -> str:
    (line,) = (f"{name}={text}" for name, text in escape_environment({"A": value}, by_shell=by_shell).items())
    return read_like_eve(line)[0]["A"]


@pytest.mark.parametrize("value", VALUES)
def test_values_arrive_as_they_are_written(value: str) -> None:
    assert _read(value) == value


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")))
def test_any_text_arrives(value: str) -> None:
    assert _read(value) == value


@pytest.mark.parametrize("value", [value for value in VALUES if not value.endswith("\n")])
def test_a_shell_between_changes_nothing(value: str) -> None:
    script = f'export A="{_read(value, by_shell=True)}"; printf %s "$A"'
    assert subprocess.run(["/bin/sh", "-c", script], stdout=subprocess.PIPE, check=True).stdout.decode() == value


@pytest.mark.parametrize(
    ("words", "value"),
    [
        (["/bin/web"], "/bin/web"),
        (["/bin/web", "--name='x'"], "/bin/web --name='x'"),
        (["/bin/sh", "-c", "echo a b"], "/bin/sh /.eaves-command"),
        (["/bin/web", ""], "/bin/sh /.eaves-command"),
        (["/bin/web", '"x"'], "/bin/sh /.eaves-command"),
    ],
)
def test_words_that_eve_would_split_go_by_a_file(words: list[str], value: str) -> None:
    got, files = want_command(words)
    assert got == value
    assert [file.path for file in files] == ([COMMAND_FILE] if COMMAND_FILE in value else [])
    for file in files:
        assert shlex.split(file.content.decode().splitlines()[1]) == ["exec", *words]
