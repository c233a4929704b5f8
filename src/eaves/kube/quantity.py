"""Kubernetes quantities: exact numbers with decimal (``500m``, ``2k``) or binary (``128Mi``) suffixes.

Format after the Kubernetes API's ``resource.Quantity``: sign, digits with an optional fraction, then one suffix or a decimal exponent.
"""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache

from eaves.kit.errors import EavesError

_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_PATTERN = re.compile(r"([+-]?)([0-9]+\.?[0-9]*|\.[0-9]+)(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]|[eE][+-]?[0-9]{1,3})?")
_SUFFIXED = re.compile(r"[+-]?[0-9]*(\.[0-9]*)?[eEinumkKMGTP]*[-+]?[0-9]*")
FORMAT = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
SUFFIX = "unable to parse quantity's suffix"


class QuantityError(EavesError):
    """Text that is no quantity."""

    code = "BadQuantity"


@lru_cache(maxsize=4096, typed=True)
def parse_quantity(value: str | int | float) -> Fraction:
    """The exact number. Raises QuantityError."""
    if isinstance(value, bool):
        raise QuantityError(FORMAT)
    if isinstance(value, int):
        return Fraction(value)
    match = _PATTERN.fullmatch(str(value))
    if match is None:
        raise QuantityError(SUFFIX if value and _SUFFIXED.fullmatch(str(value)) else FORMAT)
    sign, digits, suffix = match.group(1), match.group(2), match.group(3) or ""
    number = Fraction(Decimal(digits))
    if suffix in _BINARY:
        number *= 1 << _BINARY[suffix]
    elif suffix in _DECIMAL:
        number *= Fraction(10) ** _DECIMAL[suffix]
    else:
        number *= Fraction(10) ** int(suffix[1:])
    return -number if sign == "-" else number


def parse_bytes(value: str | int) -> int:
    """Whole bytes, rounded up."""
    return _ceil(parse_quantity(value))


def parse_millis(value: str | int) -> int:
    """Thousandths (of a CPU), rounded up."""
    return _ceil(parse_quantity(value) * 1000)


def render_bytes(count: int) -> str:
    """Shortest exact text with a binary suffix: 268435456 → ``256Mi``; not a multiple of 1024 → plain digits."""
    for suffix, power in sorted(_BINARY.items(), key=lambda item: -item[1]):
        if count and count % (1 << power) == 0:
            return f"{count >> power}{suffix}"
    return str(count)


def _ceil(number: Fraction) -> int:
    return -(-number.numerator // number.denominator)
