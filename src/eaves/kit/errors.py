"""The root of every error that Eaves raises on purpose.

Each package draws its own tree below this class in its ``errors.py``. The command line prints these errors as one line and the
remedy, daemons turn them into conditions and events; a traceback therefore always means a defect in Eaves itself.
"""

from __future__ import annotations


class EavesError(Exception):
    """Something failed in a way that a person or a reconciler can act on.

    ``code`` is a stable CamelCase word (used as reason in conditions and events), ``element`` names the thing that failed
    (``app default/web``, ``volume data``), ``retryable`` tells whether the same attempt can succeed later without a change,
    ``details`` adds what was seen (never a secret) and ``resolution`` says what to do next.
    """

    code: str = "Error"
    retryable: bool = False

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        element: str = "",
        retryable: bool | None = None,
        details: str = "",
        resolution: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.element = element
        self.details = details
        self.resolution = resolution
        if code is not None:
            self.code = code
        if retryable is not None:
            self.retryable = retryable

    def __str__(self) -> str:
        return f"{self.element}: {self.message}" if self.element else self.message


def render_failure(program: str, error: EavesError, *, seen_lines: int = 5) -> str:
    """For a terminal: one line, then the last ``seen_lines`` of what was seen, and what to do, as far as they are known."""
    lines = [f"{program}: {error}"]
    if error.details:
        lines.extend(f"  {line}" for line in error.details.splitlines()[-seen_lines:])
    if error.resolution:
        lines.append(f"  to do: {error.resolution}")
    return "\n".join(lines)
