"""``python -m eaves.node.ports.pac``: what a proxy auto-configuration file answers for one URL.

The file is a stranger's program: it runs in a process of its own, with little memory and time, and the daemon is spared the interpreter.
Takes ``{"pac": …, "url": …, "host": …}`` on standard input and writes the answer.
"""

from __future__ import annotations

import os
import resource
import sys

import msgspec
from msgspec import Struct

_MEMORY_BYTES = 512 << 20
_CPU_S = 5


class Question(Struct, frozen=True):
    pac: str
    url: str
    host: str


def main() -> int:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S, _CPU_S))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    question = msgspec.json.decode(sys.stdin.buffer.read(), type=Question)
    from pypac.parser import PACFile

    try:
        answer = PACFile(question.pac).find_proxy_for_url(question.url, question.host)
    except Exception as error:  # noqa: BLE001 - whatever a stranger's program does is told in a line
        os.write(2, f"{type(error).__name__}: {error}"[:500].encode())
        return 1
    os.write(1, str(answer).encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
