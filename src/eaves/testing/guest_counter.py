"""A program for the tiny guest whose state is in its memory alone: after a boot it is gone, and only who goes on has its number.

These are commands for the guest's shell. The number is replaced as a whole, so that nobody ever reads half of it, or none.
"""

from __future__ import annotations

import re

_FILE = "/tmp/count"
START = f"(n=0; while :; do n=$((n+1)); echo $n > {_FILE}.new && mv {_FILE}.new {_FILE}; sleep 0.1; done) & true"


def look(beyond: int = 0) -> str:
    """Waits for a number that is larger, for which the program has to run, and writes what :func:`parse` reads."""
    return (
        f'until test -e {_FILE} && test $(cat {_FILE}) -gt {beyond}; do sleep 0.1; done; echo "counted $(cat {_FILE})."'
    )


def parse(text: str) -> int | None:
    """The number among all that the guest wrote; None when its kernel wrote into that very line: then look again."""
    found = re.search(r"counted (\d+)\.", text)
    return int(found.group(1)) if found else None
