"""``eaves node`` as people call it, without a daemon."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace

from eaves.cli.node import command
from eaves.kit.errors import EavesError
from eaves.node.joining import load_join_files
from eaves.node.settings import load_node_settings
from eaves.testing.foreign_controller import ForeignController
from eaves.wire.join import JoinToken, encode_join_token


def run(*arguments: str, stdin: str = "") -> Result:
    return CliRunner().invoke(command, arguments, input=stdin, catch_exceptions=True)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    folder = tmp_path / "given"
    folder.mkdir()
    return ForeignController().want_join_files(folder)


@pytest.fixture
def token(files: tuple[Path, Path, Path]) -> JoinToken:
    return load_join_files("edge.example:8443", *files)


def test_join_by_token_on_standard_input(tmp_path: Path, token: JoinToken) -> None:
    folder = tmp_path / "etc"
    # Terminals break long lines, so white space inside does no harm.
    text = encode_join_token(token)
    done = run(
        "join", "-", "--no-start", "--folder", str(folder), "--name", "store-17", stdin=f"{text[:50]}\n{text[50:]}\n"
    )
    assert done.exit_code == 0, done.output
    assert "joined edge.example:8443" in done.output
    assert f"eaves node run --config {folder / 'node.toml'}" in done.output
    settings = load_node_settings(folder / "node.toml", {})
    assert (settings.server, settings.name) == ("edge.example:8443", "store-17")


def test_join_by_token_from_a_file_to_another_address(tmp_path: Path, token: JoinToken) -> None:
    bundle = tmp_path / "token"
    bundle.write_text(encode_join_token(token))
    folder = tmp_path / "etc"
    done = run("join", "10.0.0.1:443", "--token-bundle", str(bundle), "--no-start", "--folder", str(folder))
    assert done.exit_code == 0, done.output
    assert load_node_settings(folder / "node.toml", {}).server == "10.0.0.1:443"


def test_join_by_files(tmp_path: Path, files: tuple[Path, Path, Path]) -> None:
    root, certificate, key = (str(path) for path in files)
    arguments = ["--ca", root, "--onboarding-cert", certificate, "--onboarding-key", key, "--no-start"]
    done = run("join", "edge.example", *arguments, "--folder", str(tmp_path / "etc"))
    assert done.exit_code == 0, done.output


def test_second_join_keeps_other_settings(tmp_path: Path, token: JoinToken) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "node.toml").write_text('proxy = "http://proxy.example:3128"\n')
    run("join", "-", "--no-start", "--folder", str(folder), stdin=encode_join_token(token))
    other = replace(token, server="other.example")
    run("join", "-", "--no-start", "--folder", str(folder), stdin=encode_join_token(other))
    settings = load_node_settings(folder / "node.toml", {})
    assert (settings.server, settings.proxy) == ("other.example", "http://proxy.example:3128")


@pytest.mark.parametrize(
    ("arguments", "stdin", "words"),
    [
        (["join", "-"], "nonsense", "join token"),
        (["join", "-"], "eaves-join-1.AAAA", "join token"),
        (
            ["join", "edge.example", "--ca", "/nowhere", "--onboarding-cert", "/a", "--onboarding-key", "/b"],
            "",
            "/nowhere",
        ),
    ],
)
def test_what_cannot_be_joined_says_why(tmp_path: Path, arguments: list[str], stdin: str, words: str) -> None:
    done = run(*arguments, "--no-start", "--folder", str(tmp_path / "etc"), stdin=stdin)
    assert isinstance(done.exception, EavesError)
    assert words in str(done.exception)
    assert not (tmp_path / "etc").exists()


def test_host_without_credentials_is_wrong_usage() -> None:
    done = run("join", "edge.example")
    assert done.exit_code == 2
    assert "--token-bundle" in done.output


def test_status_without_a_daemon_says_how_to_start_it(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text(f'run_dir = "{tmp_path}"\n')
    done = run("status", "--config", str(path))
    assert isinstance(done.exception, EavesError)
    assert "eaves node run" in done.exception.resolution


def test_reset_without_a_terminal_wants_to_be_confirmed(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text("")
    done = run("reset", "--config", str(path))
    assert done.exit_code == 2
    assert "--yes" in done.output


def test_run_with_a_path_that_podman_refuses_says_so(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text(f'server = "edge.example"\nrun_dir = "/{"r" * 44}"\n')
    eaves = Path(sys.executable).with_name("eaves")
    done = subprocess.run([eaves, "node", "run", "--config", path], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "run_dir: /rrr" in done.stderr
    assert "too long by 2 characters for Podman" in done.stderr


def test_run_without_a_controller_names_the_setting(tmp_path: Path, token: JoinToken) -> None:
    folder = tmp_path / "etc"
    run("join", "-", "--no-start", "--folder", str(folder), stdin=encode_join_token(token))
    text = (folder / "node.toml").read_text().replace("edge.example:8443", "")
    path = folder / "node.toml"
    eaves = Path(sys.executable).with_name("eaves")
    with tempfile.TemporaryDirectory() as short:
        path.write_text(f'{text}state_dir = "{tmp_path / "s"}"\nrun_dir = "{short}"\n')
        done = subprocess.run([eaves, "node", "run", "--config", path], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "knows no controller" in done.stderr
    assert "Traceback" not in done.stderr
