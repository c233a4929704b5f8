"""An etcd of somebody else's on a :class:`eaves.testing.k3s_machine.Machine`, with TLS and client certificates."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from eaves.testing.k3s_machine import Machine

PORT = 12379
"""Not that of the embedded etcd."""


class Etcd:
    """Serves from :meth:`start` until :meth:`stop`, and again. ``program`` is etcd's. Who has no certificate of ``ca`` is refused."""

    def __init__(self, machine: Machine, program: Path) -> None:
        self.endpoint = f"https://{machine.address}:{PORT}"
        folder = machine.folder / "etcd"
        folder.mkdir()
        authority, self.ca = _make_authority()
        server = _make_leaf("etcd", authority, x509.load_pem_x509_certificate(self.ca.encode()), machine.address)
        self.certificate, self.key = _make_leaf("k3s", authority, x509.load_pem_x509_certificate(self.ca.encode()))
        for name, text in (("ca.crt", self.ca), ("tls.crt", server[0]), ("tls.key", server[1])):
            (folder / name).write_text(text)
        options = {
            "data-dir": folder / "data",
            "listen-client-urls": self.endpoint,
            "advertise-client-urls": self.endpoint,
            "listen-peer-urls": "http://127.0.0.1:12380",
            "trusted-ca-file": folder / "ca.crt",
            "client-cert-auth": "true",
            "cert-file": folder / "tls.crt",
            "key-file": folder / "tls.key",
            # A test's data need not outlive a power cut.
            "unsafe-no-fsync": "true",
        }
        self.daemon = machine.daemon("etcd", [str(program), *(f"--{name}={value}" for name, value in options.items())])

    def start(self) -> None:
        said = self.daemon.log.read_text().count("ready to serve") if self.daemon.log.exists() else 0
        self.daemon.start()
        self.daemon.wait("etcd", lambda: self.daemon.log.read_text().count("ready to serve") > said, 60)

    def stop(self) -> None:
        """As when its machine dies."""
        if self.daemon.is_running:
            self.daemon.kill()


def _make_authority() -> tuple[ec.EllipticCurvePrivateKey, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "etcd-ca")])
    builder = _begin(name, name, key).add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return key, builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def _make_leaf(
    common_name: str, authority: ec.EllipticCurvePrivateKey, issuer: x509.Certificate, address: str = ""
) -> tuple[str, str]:
    """Certificate and key; of a server when it has an ``address``."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if address else [])]
    builder = _begin(subject, issuer.subject, key).add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    if address:
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        builder = builder.add_extension(names, critical=False)
    certificate = builder.sign(authority, hashes.SHA256()).public_bytes(Encoding.PEM).decode()
    return certificate, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _begin(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return x509.CertificateBuilder(
        issuer,
        subject,
        key.public_key(),
        x509.random_serial_number(),
        now - datetime.timedelta(days=1),
        now + datetime.timedelta(days=30),
    )
