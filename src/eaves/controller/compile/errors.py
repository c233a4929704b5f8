"""Why a part of a config cannot be made.

CompileError
└── HeldBackError       one object is left out, or kept as it was; the rest of the config goes on
"""

from __future__ import annotations

from typing import NamedTuple

from eaves.kit.errors import EavesError


class CompileError(EavesError):
    """Compilation cannot go on with something."""


class HeldBackError(CompileError):
    """The object at hand cannot be sent as it is. ``reason`` becomes the reason of its condition."""

    def __init__(self, reason: str, message: str, *, may_keep: bool = True) -> None:
        super().__init__(message, code=reason)
        self.reason = reason
        self.may_keep = may_keep
        """Whether the version that the device has already is better than nothing."""


class Omission(NamedTuple):
    """A part that had to be left out of an object that is sent: the reason of its event, and the text."""

    reason: str
    message: str
