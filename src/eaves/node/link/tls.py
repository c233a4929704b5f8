"""Trust in the controller's server certificate, and the sessions that make the next handshake cheap.

The client owns one context for its controller; a new one is made when the trusted certificates change.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence

from eaves.node.link.errors import CertificateTimeError, IdentityError, TlsError

_SYSTEM_CA_FOLDER = "/etc/ssl/certs"
"""Looked up by hash on demand: reading the whole bundle at start costs megabytes that most nodes never need."""

_NOT_YET_VALID, _EXPIRED = 9, 10
"""X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED of OpenSSL."""


_NO_CHECK_TIME = ssl.VerifyFlags(0x200000)
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL, for which Python has no name."""


class ResumingContext(ssl.SSLContext):
    """A client context that remembers the last session of each server, and disregards dates while the clock is certainly wrong.

    asyncio has no way to hand in a session, but it calls :meth:`wrap_bio` for each connection.
    """

    sessions: dict[str, ssl.SSLSession]
    is_clock_behind: Callable[[], bool]

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        if self.is_clock_behind():
            self.verify_flags |= _NO_CHECK_TIME
        else:
            self.verify_flags &= ~_NO_CHECK_TIME
        known = self.sessions.get(str(server_hostname)) if session is None else session
        return super().wrap_bio(incoming, outgoing, server_side, server_hostname, known)

    def keep_session(self, server_hostname: str, connection: ssl.SSLObject | None) -> None:
        """Remember the session for next time; with TLS 1.3 it is known only after the first bytes from the server."""
        if connection is not None and connection.session is not None:
            self.sessions[server_hostname] = connection.session


def want_context(
    root_pem: bytes,
    extra_pems: Sequence[bytes] = (),
    *,
    use_system: bool = True,
    is_clock_behind: Callable[[], bool] = lambda: False,
) -> ResumingContext:
    """Trust ``root_pem``, ``extra_pems`` (of intercepting proxies) and, if asked, the system's certificates.

    Raises IdentityError when a PEM text cannot be read.
    """
    context = ResumingContext(ssl.PROTOCOL_TLS_CLIENT)
    context.sessions = {}
    context.is_clock_behind = is_clock_behind
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if use_system:
        context.load_verify_locations(capath=_SYSTEM_CA_FOLDER)
    for pem in (root_pem, *extra_pems):
        if not pem:
            continue
        try:
            context.load_verify_locations(cadata=pem.decode("ascii"))
        except (ssl.SSLError, ValueError) as error:
            raise IdentityError(
                "a trusted certificate cannot be read",
                details=str(error),
                resolution="check the files named in settings",
            ) from error
    return context


def explain_failure(error: ssl.SSLError, server: str) -> TlsError:
    """The error to raise for a failed handshake: a wrong clock is told apart, since its remedy is another one."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in (_NOT_YET_VALID, _EXPIRED):
            how = "is not yet valid" if error.verify_code == _NOT_YET_VALID else "has expired"
            return CertificateTimeError(
                f"server certificate {how} by this machine's clock",
                element=server,
                details=error.verify_message,
                resolution="check the clock of this machine first, then the certificate of the controller",
            )
        return TlsError(
            f"server certificate is not trusted: {error.verify_message}",
            element=server,
            resolution="check the controller's name and the root certificate that this node was given",
        )
    return TlsError(f"TLS failed: {error.reason or error}", element=server)
