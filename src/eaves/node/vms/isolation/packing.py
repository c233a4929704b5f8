"""Packs the guest's agent for the initrd: its modules, the node's own Python interpreter and the libraries that both need. Blocking.

What is needed is asked of the interpreter itself: it imports the agent as the guest will and tells what it has loaded. Files keep their
paths, so that the interpreter finds in the guest what it finds here.
"""

from __future__ import annotations

import hashlib
import importlib.machinery
import py_compile
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import eaves
from eaves.node.vms.isolation.model import EXEC_PORT, IDENTITY

AGENT = "eaves.node.vms.isolation.guest.agent"
SCRIPT = "agent"
"""Path in the initrd of the script that runs the agent."""
_LIMIT_S = 60.0
_SOURCES = str(Path(eaves.__file__).parents[1])
_FLAGS = ("-I", "-S", "-B", "-X", "utf8")
_IMPORT = "import sys; sys.path.append(sys.argv.pop(1)); from {agent} import main"
_ASK = (
    _IMPORT
    + "; [print(found) for module in list(sys.modules.values()) if (found := getattr(module, '__file__', None))]"
)


def pack_agent() -> list[tuple[str, bytes]]:
    """Files of the initrd as (path, content). Raises OSError, CalledProcessError, PyCompileError."""
    interpreter = _find_interpreter()
    asked = _run(str(interpreter), *_FLAGS, "-c", _ASK.format(agent=AGENT), _SOURCES)
    modules = [Path(line) for line in dict.fromkeys(asked.splitlines())]
    binaries = [interpreter, *(path for path in modules if path.suffix not in importlib.machinery.SOURCE_SUFFIXES)]
    libraries = {Path(name) for path in binaries for name in parse_libraries(_run("ldd", str(path)))}
    found = [(_name(path), path.read_bytes()) for path in (*binaries, *sorted(libraries))]
    found += [_compile(path) for path in modules if path.suffix in importlib.machinery.SOURCE_SUFFIXES]
    return [*found, (SCRIPT, _render_script(interpreter).encode())]


def mark_agent() -> str:
    """Changes when :func:`pack_agent` would pack something else. Raises OSError."""
    interpreter = _find_interpreter()
    stat = interpreter.stat()
    sources = [path.read_bytes() for path in sorted((Path(__file__).parent / "guest").glob("*.py"))]
    return (
        f"{sys.version} {interpreter} {stat.st_mtime_ns} {stat.st_size} {hashlib.sha256(b''.join(sources)).hexdigest()}"
    )


def parse_libraries(shown: str) -> list[str]:
    """Paths in what ``ldd`` shows. The loader has no arrow; what the kernel brings has no path; a static program has none at all."""
    return [found.group(1) for line in shown.splitlines() if (found := re.search(r"(?:=> |^\s*)(/\S+) \(0x", line))]


def _find_interpreter() -> Path:
    """That of the system, not of a virtual environment."""
    return Path(getattr(sys, "_base_executable", None) or sys.executable).resolve()


def _compile(path: Path) -> tuple[str, bytes]:
    """A module without its source, so that a guest need not compile it at each start."""
    with tempfile.TemporaryDirectory() as folder:
        made = py_compile.compile(
            str(path),
            cfile=f"{folder}/module.pyc",
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
        assert made is not None
        return f"{_name(path)}c", Path(made).read_bytes()


def _render_script(interpreter: Path) -> str:
    run = (str(interpreter), *_FLAGS, "-c", _IMPORT.format(agent=AGENT) + "; main(*sys.argv[1:])")
    return f"#!/bin/busybox sh\nexec {shlex.join((*run, _SOURCES, EXEC_PORT, '/new', f'/share/{IDENTITY}'))}\n"


def _name(path: Path) -> str:
    return str(path).removeprefix("/")


def _run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=_LIMIT_S, check=False, env={"LC_ALL": "C"})
    if done.returncode != 0 and "not a dynamic executable" not in done.stderr + done.stdout:
        raise OSError(f"{argv[0]}: {done.stderr.strip()[-300:]}")
    return done.stdout
