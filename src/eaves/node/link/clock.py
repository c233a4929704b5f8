"""What a node knows of the time when its clock is wrong.

A box without a battery wakes up years in the past, and may reach its controller before any time server. The root certificate that it
trusts was made before it got it, so a clock that shows an earlier time is wrong for certain. Then, and only then, dates of
certificates are not held against the controller; names, chains and signatures are, as ever. A clock that is ahead cannot be told
from a certificate that has expired, so it gets no such leave.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable

from eaves.wire import certificates

Now = Callable[[], datetime.datetime]


class Clock:
    """``root_pem`` are the pinned root certificates. Raises MalformedCertificateError when they cannot be read."""

    def __init__(self, root_pem: bytes, now: Now) -> None:
        roots = certificates.parse_certificates_pem(root_pem, "root certificate")
        self._certain = max(root.not_valid_before_utc for root in roots)
        self._now = now

    def now(self) -> datetime.datetime:
        """The machine's time, or the earliest that it can be."""
        return max(self._now(), self._certain)

    def is_behind(self) -> bool:
        return self._now() < self._certain
