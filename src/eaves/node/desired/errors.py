"""Errors inside the parser of device configs; none of them leaves it, each ends as a ConfigProblem.

DesiredError
├── ObjectError                 one object cannot be used; carries code and remedy
└── UserDataError               user data in a form that containers have no use for
"""

from __future__ import annotations

from eaves.kit.errors import EavesError


class DesiredError(EavesError):
    """A part of the config that cannot be used."""

    code = "BadConfig"


class ObjectError(DesiredError):
    """One object cannot be used."""


class UserDataError(DesiredError):
    """User data that cannot be read; the message never quotes it, since it may hold secrets."""

    code = "BadUserData"
