"""The units that run Eaves in production, judged by systemd's own checker."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from eaves.kit.settings import load_settings
from eaves.node.settings import ENVIRONMENT_PREFIX, NodeSettings

pytestmark = pytest.mark.contract

ROOT = Path(__file__).resolve().parents[2]
UNITS = sorted((ROOT / "packaging").glob("*.service"))
EAVES = Path(sys.executable).with_name("eaves")


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_accepts_the_unit(unit: Path, tmp_path: Path) -> None:
    copy = tmp_path / unit.name
    # The checker wants the program to be there; packages put it into /usr/bin.
    copy.write_text(unit.read_text().replace("/usr/bin/eaves", str(EAVES)))
    done = subprocess.run(
        ["systemd-analyze", "--man=no", "verify", str(copy)], capture_output=True, text=True, check=False, timeout=60
    )
    # It also reads the units of the machine and tells their faults; only lines about ours count.
    faults = [line for line in done.stderr.splitlines() if unit.name in line]
    assert (done.returncode, faults) == (0, []), done.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_the_unit_starts_a_command_that_exists(unit: Path) -> None:
    [command] = re.findall(r"^ExecStart=/usr/bin/eaves (.+)$", unit.read_text(), re.MULTILINE)
    done = subprocess.run([str(EAVES), *command.split(), "--help"], capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def test_an_image_sets_up_its_ports_and_packages_do_not(tmp_path: Path) -> None:
    drop_in = ROOT / "packaging" / "image" / "eaves-node.service.d" / "ports.conf"
    unit = ROOT / "packaging" / "eaves-node.service"
    told = re.findall(r"^Environment=(EAVES_NODE_\w+)=(.+)$", drop_in.read_text(), re.MULTILINE)
    assert load_settings(NodeSettings, None, dict(told), ENVIRONMENT_PREFIX).manage_ports
    assert "MANAGE_PORTS" not in unit.read_text()
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace("/usr/bin/eaves", str(EAVES)))
    folder = tmp_path / f"{unit.name}.d"
    folder.mkdir()
    (folder / drop_in.name).write_text(drop_in.read_text())
    done = subprocess.run(
        ["systemd-analyze", "--man=no", "verify", str(copy)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
    )
    assert not [line for line in done.stderr.splitlines() if drop_in.name in line], done.stderr
