"""Lines as K3s writes them, on standard error."""

from __future__ import annotations

import json
import sys
from typing import NoReturn

from tests.k3s import clock


class FatalError(Exception):
    """K3s says why and ends with status 1."""


def info(message: str) -> None:
    _write("info", message)


def warn(message: str) -> None:
    _write("warning", message)


def error(message: str) -> None:
    _write("error", message)


def fatal(message: str) -> NoReturn:
    raise FatalError(message)


def write_fatal(message: str) -> None:
    _write("fatal", message)


def _write(level: str, message: str) -> None:
    now = clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
    sys.stderr.write(f'time="{now}" level={level} msg={json.dumps(message)}\n')
    sys.stderr.flush()
