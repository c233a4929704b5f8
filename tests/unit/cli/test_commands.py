"""The commands' surface: help, completion, errors as one line."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

from eaves.cli import main, plugin
from eaves.kit.errors import EavesError, render_failure


@pytest.mark.parametrize(
    "arguments", [["--help"], ["controller", "--help"], ["node", "--help"], ["completion", "--help"]]
)
def test_help_has_examples_or_commands(arguments: list[str]) -> None:
    result = CliRunner().invoke(main.command, arguments)
    assert result.exit_code == 0, result.output
    assert "Usage:" in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["approve", "-h"],
        ["reboot", "-h"],
        ["why", "-h"],
        ["flows", "-h"],
        ["onboarding-key", "create", "-h"],
        ["k3s-release", "import", "-h"],
    ],
)
def test_plugin_help_has_examples(arguments: list[str]) -> None:
    result = CliRunner().invoke(plugin.command, arguments)
    assert result.exit_code == 0, result.output
    assert arguments == ["--help"] or "kubectl eaves" in result.output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_name_the_program(shell: str) -> None:
    assert "_EAVES_COMPLETE" in CliRunner().invoke(main.command, ["completion", shell]).output


def test_the_node_command_does_not_load_the_controller() -> None:
    script = "import sys; from eaves.cli import main; main.command.get_command(None, 'node'); print(list(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert [name for name in done.stdout.strip("[]\n").split(", ") if name.startswith("'eaves.controller")] == []


def test_the_node_daemon_does_not_keep_what_only_commands_need() -> None:
    script = "import sys; import eaves.node.__main__; print({name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert [name for name in ("click", "rich", "yaml", "uvicorn", "zipfile") if f"'{name}'" in done.stdout] == []


def test_an_error_is_a_line_and_its_remedy() -> None:
    error = EavesError("port 6443 is in use", element="api", details="bound by pid 1", resolution="set api.listen")
    assert (
        render_failure("eaves", error) == "eaves: api: port 6443 is in use\n  bound by pid 1\n  to do: set api.listen"
    )


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), ("24h", 86400), ("30d", 2592000)])
def test_durations(text: str, seconds: int) -> None:
    assert plugin.parse_duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "0s", "-1h", "1.5h", "10"])
def test_bad_durations_are_refused(text: str) -> None:
    with pytest.raises(EavesError, match="is not a duration"):
        plugin.parse_duration_s(text)
