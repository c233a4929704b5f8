"""Values of a config that must never be printed."""

from __future__ import annotations


class Secret(str):
    """Text that must not be printed: ``repr`` and ``format`` show asterisks; use :meth:`reveal` where it is needed."""

    __slots__ = ()

    def reveal(self) -> str:
        return str.__str__(self)

    def __repr__(self) -> str:
        return "Secret('***')"

    def __format__(self, spec: str) -> str:
        return "***"


class SecretBytes(bytes):
    """Bytes that must not be printed: ``repr`` and ``format`` show asterisks; use :meth:`reveal` where they are needed."""

    __slots__ = ()

    def reveal(self) -> bytes:
        return bytes(self)

    def __repr__(self) -> str:
        return "SecretBytes('***')"

    def __str__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return "***"
