"""The committed generated code against a fresh run of the generator."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[3]
TOOL = CHECKOUT / "tools/generate_wire.py"


def run_tool(tool: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(tool), "--check"], capture_output=True, text=True, timeout=120, check=False
    )


def test_committed_code_is_what_the_generator_makes() -> None:
    result = run_tool(TOOL)
    assert result.returncode == 0, result.stderr


def test_changed_proto_is_noticed_and_the_remedy_is_named(tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    tool = tmp_path / "tools/generate_wire.py"
    tool.write_text(TOOL.read_text())
    proto = tmp_path / "src/eaves/wire/proto/eveuuid/eveuuid.proto"
    proto.parent.mkdir(parents=True)
    proto.write_text('syntax = "proto3";\npackage org.lfedge.eve.eveuuid;\nmessage UuidRequest {}\n')
    result = run_tool(tool)
    assert result.returncode == 1
    assert "eveuuid/eveuuid_pb2.py" in result.stderr
    assert "run: python tools/generate_wire.py" in result.stderr
