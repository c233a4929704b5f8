"""Errors of the wire: what can be wrong with bytes of the device API.

WireError
├── EnvelopeError               an AuthContainer that is not to be trusted
│   ├── MalformedEnvelopeError      not an AuthContainer, or without the payload it needs
│   ├── HashSizeError               senderCertHash is neither 16 nor 32 bytes
│   ├── AlgorithmError              hash algorithm or kind of key that the device API does not know
│   ├── CertificateMissError        signed by a certificate that is not the known one (fetch /certs)
│   └── SignatureError              the signature does not fit payload and key
├── CertificateError            a certificate that cannot be used
│   ├── MalformedCertificateError   not exactly one PEM certificate
│   ├── CertificateSetError         /certs lacks a certificate or has one too many
│   └── ChainError                  no valid path from the certificate to a trusted root
├── CipherError                 an encrypted field that cannot be read or made
│   ├── CipherContextError          scheme, key or context that the device API does not allow
│   └── CipherIntegrityError        decrypted to something else than was encrypted
├── NewlogError                 a log file that cannot be read
│   ├── MalformedGzipError          not exactly one complete gzip member
│   └── GzipBombError               grows beyond the allowed size
├── IdentifierError             text that is not the UUID it should be
└── PathError                   a URL path that no endpoint of the device API has
"""

from __future__ import annotations

from eaves.kit.errors import EavesError


class WireError(EavesError):
    """Bytes that do not say what the device API allows."""

    code = "WireError"


class EnvelopeError(WireError):
    """An AuthContainer that is not to be trusted."""

    code = "EnvelopeRefused"


class MalformedEnvelopeError(EnvelopeError):
    code = "MalformedEnvelope"


class HashSizeError(EnvelopeError):
    code = "SenderHashSize"


class AlgorithmError(EnvelopeError):
    code = "UnknownAlgorithm"


class CertificateMissError(EnvelopeError):
    """The sender's certificate is not the known one; a device fetches ``/certs`` and tries again."""

    code = "CertificateMiss"
    retryable = True


class SignatureError(EnvelopeError):
    code = "BadSignature"


class CertificateError(WireError):
    code = "CertificateRefused"


class MalformedCertificateError(CertificateError):
    code = "MalformedCertificate"


class CertificateSetError(CertificateError):
    code = "CertificateSetRefused"


class ChainError(CertificateError):
    code = "ChainRefused"


class CipherError(WireError):
    code = "CipherError"


class CipherContextError(CipherError):
    code = "CipherContextRefused"


class CipherIntegrityError(CipherError):
    code = "CipherIntegrity"


class NewlogError(WireError):
    code = "LogFileRefused"


class MalformedGzipError(NewlogError):
    code = "MalformedGzip"


class GzipBombError(NewlogError):
    code = "GzipBomb"


class IdentifierError(WireError):
    code = "BadIdentifier"


class PathError(WireError):
    code = "UnknownPath"
