"""What the machine's time service says of its sources: chrony in full, systemd-timesyncd of the one server that it asks.

Formats: ``chronyc -c`` prints one line of comma-separated fields a source (chronyc(1), "sources" and "ntpdata"), ``timedatectl
show-timesync`` one property a line (timedatectl(1)).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from msgspec import Struct

from eaves.kit import process
from eaves.kit.errors import EavesError

_CHRONYC = ("chronyc", "-n", "-c", "-m", "sources", "ntpdata")
_TIMEDATECTL = ("timedatectl", "show-timesync", "--all")
_LIMIT_S = 20.0
_SOURCES_FIELDS, _DATA_FIELDS = 10, 28
"""Newer versions print more fields about a source's data, at the end."""
_NTP_PORT = 123
_LEAPS = ("Normal", "Insert second", "Delete second", "Not synchronised")
_FIELD = re.compile(r"(\w+)=([^,}]*)")


class SourceState(StrEnum):
    """With chrony's own marks."""

    SELECTED = "*"
    COMBINED = "+"
    NOT_COMBINED = "-"
    UNREACHABLE = "?"
    FALSETICKER = "x"
    VARIABLE = "~"


class SourceMode(StrEnum):
    SERVER = "^"
    PEER = "="
    CLOCK = "#"


class TimeSource(Struct, frozen=True, kw_only=True):
    """One source. Seconds, but for ``poll``, the binary logarithm of them. ``reach``: of the last eight polls, one bit each."""

    address: str
    name: str = ""
    mode: SourceMode = SourceMode.SERVER
    state: SourceState = SourceState.UNREACHABLE
    stratum: int = 0
    poll: int = 0
    reach: int = 0
    offset_s: float = 0.0
    local_address: str = ""
    port: int = _NTP_PORT
    leap: int = 0
    reference: str = ""
    reference_time: float = 0.0
    delay_s: float = 0.0
    dispersion_s: float = 0.0
    root_delay_s: float = 0.0
    root_dispersion_s: float = 0.0
    is_authenticated: bool = False


async def load_time_sources() -> Sequence[TimeSource]:
    """None where no time service answers."""
    for argv, parse in ((_CHRONYC, parse_chrony), (_TIMEDATECTL, parse_timesyncd)):
        try:
            done = await process.run(argv, timeout_s=_LIMIT_S, env={"LC_ALL": "C"}, check=False)
            if done.returncode == 0 and (found := parse(done.stdout.decode(errors="replace"))):
                return found
        except (EavesError, ValueError):
            # It is not installed, does not run, or prints what is not known.
            continue
    return ()


def parse_chrony(text: str) -> tuple[TimeSource, ...]:
    """Raises ValueError. Names that have no address yet are no sources."""
    rows = [line.split(",") for line in text.splitlines()]
    details = {row[0]: row for row in rows if len(row) >= _DATA_FIELDS}
    return tuple(
        _parse_source(row, details.get(row[2]))
        for row in rows
        if len(row) == _SOURCES_FIELDS and not row[2].startswith("ID#")
    )


def _parse_source(row: Sequence[str], data: Sequence[str] | None) -> TimeSource:
    mode, state, address, stratum, poll, reach, _, offset, _, error = row
    known: dict[str, Any] = {
        "address": address,
        "mode": SourceMode(mode),
        "state": SourceState(state),
        "stratum": int(stratum),
        "poll": int(poll),
        "reach": int(reach, 8),
        "offset_s": float(offset),
        "dispersion_s": float(error),
    }
    return TimeSource(**known | (_parse_details(data) if data is not None and data[7] != "Invalid" else {}))


def _parse_details(data: Sequence[str]) -> dict[str, Any]:
    return {
        "port": int(data[2]),
        "local_address": "" if data[3].startswith("[") else data[3],
        "leap": _LEAPS.index(data[5]) if data[5] in _LEAPS else 0,
        "root_delay_s": float(data[13]),
        "root_dispersion_s": float(data[14]),
        "reference": data[16] or data[15],
        "reference_time": float(data[17]),
        "delay_s": float(data[19]),
        "dispersion_s": float(data[20]),
        "is_authenticated": data[27] == "Yes",
    }


def parse_timesyncd(text: str) -> tuple[TimeSource, ...]:
    """At most one: it asks one server at a time. Raises ValueError."""
    properties = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    address = properties.get("ServerAddress", "")
    if not address:
        return ()
    message = {name: value.strip() for name, value in _FIELD.findall(properties.get("NTPMessage", ""))}
    # Without an answer yet there is no message; "Ignored" marks one of a server that is not in step itself.
    is_good = int(message.get("PacketCount", "0")) > 0 and message.get("Ignored") != "yes"
    return (
        TimeSource(
            address=address,
            name=properties.get("ServerName", ""),
            state=SourceState.SELECTED if is_good else SourceState.UNREACHABLE,
            stratum=int(message.get("Stratum", "0")),
            leap=int(message.get("Leap", "0")),
            reference=message.get("Reference", ""),
        ),
    )
