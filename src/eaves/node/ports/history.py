"""Which configs of the ports there were, and which to use now. Pure.

The device API calls one a DevicePortConfig: the newest has the index 0. The newest is tried first. When it fails, the node goes back
to the last one that worked (or to what its host had before) and tries the newest again from time to time.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

CONTROLLER, HOST = "controller", "host"
RETRY_AFTER_S = 600.0
"""``timer.port.testbetterinterval`` of the device API."""


class Record(Struct, frozen=True):
    """One config. ``sections`` are the device config's own, secrets sealed; none for what the host itself had. Times are Unix seconds."""

    key: str = HOST
    sections: bytes = b""
    made_at: float = 0.0
    last_failed: float = 0.0
    last_succeeded: float = 0.0
    last_error: str = ""

    @property
    def id(self) -> str:
        return hashlib.sha256(self.sections).hexdigest()[:16] if self.sections else HOST

    @property
    def works(self) -> bool:
        return self.last_succeeded > self.last_failed or self.key == HOST

    @property
    def is_tried(self) -> bool:
        return bool(self.last_failed or self.last_succeeded) or self.key == HOST


_HOST_RECORD = Record()


class History(Struct, frozen=True):
    """``records``: newest first, the host's own last. ``checkpoint``: NetworkManager's, while a trial of ``trial`` is under way."""

    records: tuple[Record, ...] = (_HOST_RECORD,)
    used: str = HOST
    """Id of the record that is in force."""
    trial: str = ""
    checkpoint: str = ""
    key: bytes = b""
    """Secret that the names of profiles depend on."""

    @property
    def index(self) -> int:
        """Of the record in force."""
        return next((number for number, record in enumerate(self.records) if record.id == self.used), 0)

    def find(self, record_id: str) -> Record | None:
        return next((record for record in self.records if record.id == record_id), None)


class Step(StrEnum):
    """``TRY``: the newest, under a checkpoint. ``HOLD``: see that the one in force is what NetworkManager has."""

    TRY = "try"
    HOLD = "hold"


def take_sections(history: History, sections: bytes, now: float) -> History:
    """The controller's newest word on the ports; empty = it leaves them to the node."""
    newest = history.records[0]
    if sections == newest.sections:
        return history
    if not sections:
        host = next((record for record in history.records if record.key == HOST), _HOST_RECORD)
        return replace(history, records=(replace(host, made_at=now),), used=HOST)
    record = next(
        (record for record in history.records if record.sections == sections), Record(CONTROLLER, sections, now)
    )
    others = [other for other in history.records if other.sections != sections]
    return _trim(replace(history, records=(replace(record, made_at=now), *others)))


def next_step(history: History, now: float, retry_after_s: float = RETRY_AFTER_S) -> Step:
    """What to do now."""
    newest = history.records[0]
    if history.used == newest.id and newest.works:
        return Step.HOLD
    # A failure that was noted while the clock was ahead holds nothing up when it is right again.
    if newest.last_failed > newest.last_succeeded and 0 < retry_at(history, retry_after_s) - now <= retry_after_s:
        return Step.HOLD
    return Step.TRY


def retry_at(history: History, after_s: float = RETRY_AFTER_S) -> float:
    """When a newest record that failed is due again."""
    newest = history.records[0]
    if newest.made_at > newest.last_failed:
        return newest.made_at
    return newest.last_failed + after_s


def begin_trial(history: History, checkpoint: str) -> History:
    """Note it before anything changes, so that a daemon that dies finds its way back."""
    return replace(history, trial=history.records[0].id, checkpoint=checkpoint)


def end_trial(history: History, now: float, error: str = "", note: str = "") -> History:
    """``error`` empty = it works (``note``: yet not all of it), and what is older than it and never worked goes."""
    trial = history.trial
    records = tuple(_judge(record, now, error, note) if record.id == trial else record for record in history.records)
    used = history.used if error else trial
    return _trim(replace(history, records=records, used=used, trial="", checkpoint=""))


def _judge(record: Record, now: float, error: str, note: str) -> Record:
    # Made by a clock that was ahead, it would look newer than its own failure.
    record = replace(record, made_at=min(record.made_at, now))
    if error:
        return replace(record, last_failed=now, last_error=error)
    return replace(record, last_succeeded=now, last_error=note)


def _trim(history: History) -> History:
    """Keep the newest, the one in force, the newest that works besides, and the host's."""
    kept: list[Record] = []
    has_working = False
    for number, record in enumerate(history.records):
        if (
            number == 0
            or record.id in (history.used, history.trial)
            or record.key == HOST
            or (record.works and not has_working)
        ):
            kept.append(record)
        has_working = has_working or (number > 0 and record.works)
    return replace(history, records=tuple(kept))
