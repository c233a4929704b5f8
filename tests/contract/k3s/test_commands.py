"""K3s's command line: what needs no cluster."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from eaves.testing.k3s import Release


def run(release: Release, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([release.program, *arguments], capture_output=True, text=True, timeout=120, check=False)


def test_version_is_told(release: Release) -> None:
    out = run(release, "--version").stdout
    assert re.match(r"k3s version v\d+\.\d+\.\d+\+k3s\d+ \(\w+\)", out)
    assert release.version in out


def test_every_command_is_there(release: Release) -> None:
    out = run(release, "--help").stdout
    for command in ("server", "agent", "kubectl", "ctr", "check-config", "etcd-snapshot", "certificate", "token"):
        assert re.search(rf"^\s+{command}\b", out, re.MULTILINE), command


@pytest.mark.parametrize("role", ["server", "agent"])
def test_an_unknown_flag_is_refused(release: Release, role: str) -> None:
    done = run(release, role, "--no-such-flag=1")
    assert done.returncode == 1
    assert "flag provided but not defined: -no-such-flag" in done.stdout + done.stderr


def test_a_configuration_file_that_is_named_must_be_there(release: Release, tmp_path: Path) -> None:
    done = run(release, "agent", "--config", str(tmp_path / "none.yaml"))
    assert done.returncode == 1
    assert "none.yaml" in done.stdout + done.stderr


def test_an_agent_needs_a_server_and_a_token(release: Release, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("no-such-option: 1\n")
    done = run(release, "agent", "--config", str(config), "--data-dir", str(tmp_path / "data"))
    assert done.returncode == 1
    assert "--token is required" in done.stderr + done.stdout
    # What a file names and K3s does not know is skipped, with a word.
    assert "Unknown flag --no-such-option found in config.yaml, skipping" in done.stderr + done.stdout


def test_a_token_can_be_made(release: Release) -> None:
    assert re.fullmatch(r"[a-z0-9]{6}\.[a-z0-9]{16}\n", run(release, "token", "generate").stdout)


def test_a_snapshot_needs_a_datastore(release: Release, tmp_path: Path) -> None:
    assert run(release, "etcd-snapshot", "save", "--data-dir", str(tmp_path)).returncode == 1


def test_kubectl_is_inside(release: Release) -> None:
    out = run(release, "kubectl", "version", "--client", "-o", "json").stdout
    assert release.version in out
