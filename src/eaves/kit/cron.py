"""Schedules in five fields of cron (POSIX crontab: minute, hour, day of month, month, day of week), in UTC. Pure."""

from __future__ import annotations

import datetime
import math

from cronsim import CronSim, CronSimError

NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_FIELDS = 5
_MINUTE = datetime.timedelta(minutes=1)


class ScheduleError(ValueError):
    """A text that is no schedule; says why."""


def check_schedule(text: str) -> None:
    """Raises ScheduleError."""
    _simulate(text, datetime.datetime.fromtimestamp(0, datetime.UTC), reverse=False)


def find_last(text: str, now: float) -> float:
    """Unix seconds of the last time that was due at ``now``, the minute that has begun among them; 0 = never. Raises ScheduleError."""
    minute = datetime.datetime.fromtimestamp(now, datetime.UTC).replace(second=0, microsecond=0)
    found = next(_simulate(text, minute + _MINUTE, reverse=True), None)
    return found.timestamp() if found is not None else 0.0


def find_next(text: str, now: float) -> float:
    """Unix seconds of the first time that is due after ``now``; infinity = never. Raises ScheduleError."""
    found = next(_simulate(text, datetime.datetime.fromtimestamp(now, datetime.UTC), reverse=False), None)
    return found.timestamp() if found is not None else math.inf


def _simulate(text: str, start: datetime.datetime, *, reverse: bool) -> CronSim:
    expression = NICKNAMES.get(text.strip().lower(), text)
    if len(expression.split()) != _FIELDS:
        raise ScheduleError(
            "must have five fields: minute, hour, day of month, month, day of week (as in 0 2 * * *), or be one of "
            + ", ".join(NICKNAMES)
        )
    try:
        return CronSim(expression, start, reverse=reverse)
    except CronSimError as error:
        field = str(error).removeprefix("Bad ").replace("-", " ")
        raise ScheduleError(
            f"its field for the {field} is not possible; fields are numbers, spans and steps: 5, 1-5, */10 or *"
        ) from error
