"""The one runner for short-lived programs: argument list, time limit, captured output, errors that say what ran.

Long-lived children belong to their manager (dnsmasq, conmon); this is for commands that answer and end.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Mapping, Sequence

from msgspec import Struct

from eaves.kit.errors import EavesError

DEFAULT_TIMEOUT_S = 60.0
OUTPUT_LIMIT_BYTES = 64 << 20
_SHOWN_BYTES = 2000


class ProcessError(EavesError):
    """A program failed. ``returncode`` is None when it did not end in time, negative for a signal."""

    code = "CommandFailed"

    def __init__(self, argv: Sequence[str], returncode: int | None, stdout: bytes, stderr: bytes, message: str) -> None:
        shown = (stderr or stdout)[-_SHOWN_BYTES:].decode(errors="replace").strip()
        super().__init__(message, element=argv[0].rsplit("/", 1)[-1], details=shown)
        self.argv = tuple(argv)
        self.returncode = returncode
        self.stdout = stdout
        self.stderr = stderr


class ProgramMissingError(EavesError):
    """The program is not installed."""

    code = "ProgramMissing"

    def __init__(self, program: str) -> None:
        super().__init__(
            "not found", element=program, resolution=f"install the package that brings {program} (see the README)"
        )
        self.program = program


class ProcessTimeoutError(ProcessError):
    """The program did not end in time and was killed with all that it started."""

    code = "CommandTimedOut"
    retryable = True


class Completed(Struct, frozen=True):
    """A program's end: exit status and all that it wrote."""

    argv: tuple[str, ...]
    returncode: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        return self.stdout.decode(errors="replace")


async def run(
    argv: Sequence[str],
    *,
    stdin: bytes | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
    check: bool = True,
    pass_fds: Sequence[int] = (),
) -> Completed:
    """Run ``argv`` to its end. ``env`` adds to this process's environment.

    Raises ProgramMissingError, ProcessTimeoutError, and with ``check`` ProcessError for a non-zero exit. When the caller is
    cancelled the program's whole process group is killed before the cancellation goes on. Arguments appear in errors: secrets
    travel by ``stdin`` or files, never as arguments.
    """
    merged = None if env is None else {**os.environ, **env}
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=merged,
            cwd=cwd,
            start_new_session=True,
            pass_fds=tuple(pass_fds),
            limit=OUTPUT_LIMIT_BYTES,
        )
    except FileNotFoundError as error:
        if error.filename == cwd:
            raise
        raise ProgramMissingError(argv[0]) from error
    try:
        async with asyncio.timeout(timeout_s):
            stdout, stderr = await process.communicate(stdin)
    except TimeoutError as error:
        await _kill_group(process)
        raise ProcessTimeoutError(argv, None, b"", b"", f"did not end within {timeout_s:g} s") from error
    except asyncio.CancelledError:
        await _kill_group(process)
        raise
    code = process.returncode if process.returncode is not None else -1
    if check and code != 0:
        raise ProcessError(argv, code, stdout, stderr, _say_end(argv, code, stderr))
    return Completed(tuple(argv), code, stdout, stderr)


def check_programs(packages: Mapping[str, str]) -> None:
    """Check that programs (name → Debian package) are installed; raises one EavesError that names all missing ones."""
    missing = {name: package for name, package in packages.items() if shutil.which(name) is None}
    if missing:
        raise EavesError(
            f"missing programs: {', '.join(sorted(missing))}",
            code="ProgramMissing",
            resolution=f"apt-get install --no-install-recommends {' '.join(sorted(set(missing.values())))}",
        )


def _say_end(argv: Sequence[str], code: int, stderr: bytes) -> str:
    how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
    lines = stderr.decode(errors="replace").strip().splitlines()
    last = f": {lines[-1][:300]}" if lines else ""
    verb = f" {argv[1]}" if len(argv) > 1 and not argv[1].startswith("-") else ""
    return f"command{verb} failed, {how}{last}"


async def _kill_group(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
