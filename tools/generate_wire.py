"""Make ``src/eaves/wire/pb`` from the ``.proto`` files of the device API, or check that it is up to date.

Run by people after a change of a ``.proto`` file and, with ``--check``, by continuous integration. The generated code is committed
so that neither users nor the build need a compiler. Not shipped.
"""

from __future__ import annotations

import argparse
import filecmp
import re
import shutil
import subprocess
import sys
import tempfile
from importlib import resources
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTO_DIR = ROOT / "src/eaves/wire/proto"
PB_DIR = ROOT / "src/eaves/wire/pb"
PACKAGE = "eaves.wire.pb"
PROTOC_LIMIT_S = 120
REMEDY = "run: python tools/generate_wire.py, and commit src/eaves/wire/pb"


def generate(target: Path) -> None:
    """Write a complete ``pb`` package into the empty folder ``target``."""
    _run_protoc(target)
    folders = sorted(path.name for path in target.iterdir() if path.is_dir())
    for path in sorted(target.rglob("*_pb2.py*")):
        path.write_text(want_own_imports(path.read_text(), folders))
    (target / "__init__.py").write_text(
        '"""Generated from ``eaves/wire/proto`` by ``tools/generate_wire.py``; never edited."""\n'
    )
    for folder in folders:
        (target / folder / "__init__.py").write_text(f'"""Generated messages of ``proto/{folder}``."""\n')


def want_own_imports(text: str, folders: list[str]) -> str:
    """Let generated modules import each other below ``eaves.wire.pb`` instead of from the top level.

    Only lines that import are touched: descriptor names inside the serialized file stay what the device API says.
    """
    names = "|".join(map(re.escape, folders))
    return re.sub(rf"^from ({names}) import ", rf"from {PACKAGE}.\1 import ", text, flags=re.MULTILINE)


def find_differences(have: Path, want: Path) -> list[str]:
    """Relative paths of files that are missing, unexpected or different in ``have``."""
    files = {path.relative_to(root) for root in (have, want) for path in root.rglob("*") if _is_source(path)}
    return sorted(str(file) for file in files if not _is_same(have / file, want / file))


def _is_source(path: Path) -> bool:
    return path.is_file() and path.suffix in {".py", ".pyi"}


def _is_same(have: Path, want: Path) -> bool:
    return have.is_file() and want.is_file() and filecmp.cmp(have, want, shallow=False)


def _run_protoc(target: Path) -> None:
    protos = sorted(str(path.relative_to(PROTO_DIR)) for path in PROTO_DIR.rglob("*.proto"))
    well_known = resources.files("grpc_tools") / "_proto"
    command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={PROTO_DIR}", f"--proto_path={well_known}"]
    # The plugin of mypy-protobuf stands beside the interpreter, which need not be on PATH.
    plugin = Path(sys.executable).with_name("protoc-gen-mypy")
    command += [f"--plugin=protoc-gen-mypy={plugin}", f"--python_out={target}", f"--mypy_out=quiet:{target}", *protos]
    subprocess.run(command, check=True, timeout=PROTOC_LIMIT_S)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Generate eaves.wire.pb from the device API's .proto files.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the committed code differs")
    check = parser.parse_args(arguments).check
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(fresh)
        if check:
            differences = find_differences(PB_DIR, fresh)
            if differences:
                print(f"generated wire code is out of date: {', '.join(differences)}\n{REMEDY}", file=sys.stderr)
            return 1 if differences else 0
        shutil.rmtree(PB_DIR, ignore_errors=True)
        shutil.copytree(fresh, PB_DIR)
    return 0


if __name__ == "__main__":
    sys.exit(main())
