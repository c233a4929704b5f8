"""Quantities of specs as numbers: bytes, thousandths of a processor."""

from __future__ import annotations

import math
import re
from decimal import Decimal

_NUMBER = re.compile(r"([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))(Ki|Mi|Gi|Ti|Pi|Ei|n|u|m|k|M|G|T|P|E|[eE][+-]?[0-9]+)?")
_FACTORS = {"": Decimal(1), "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3")}
_FACTORS |= {unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", 1)}
_FACTORS |= {f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", 1)}


class QuantityError(ValueError):
    """The text is no quantity."""


def exact(value: int | str) -> Decimal:
    """The number that a quantity stands for. Raises :class:`QuantityError`."""
    match = _NUMBER.fullmatch(str(value))
    if match is None:
        raise QuantityError(
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        )
    suffix = match[2] or ""
    if suffix in _FACTORS:
        return Decimal(match[1]) * _FACTORS[suffix]
    return Decimal(match[1] + suffix)


def bytes_of(value: int | str) -> int:
    """Whole bytes, rounded up."""
    return math.ceil(exact(value))


def millis_of(value: int | str) -> int:
    """Thousandths, rounded up."""
    return math.ceil(exact(value) * 1000)
