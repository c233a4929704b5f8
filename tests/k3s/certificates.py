"""``k3s certificate check|rotate|rotate-ca``."""

from __future__ import annotations

import datetime
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.k3s import bootstrap, clock, log, pki, tokens
from tests.k3s.etcd import Etcd, EtcdError
from tests.k3s.options import CERTIFICATE, Options, parse
from tests.k3s.paths import DataDir

SERVICES = (
    *("admin", "api-server", "controller-manager", "scheduler", "supervisor", "k3s-controller", "k3s-server"),
    *("cloud-controller", "etcd", "auth-proxy", "kubelet", "kube-proxy"),
)


def run(argv: Sequence[str]) -> int:
    """Raises FatalError."""
    options = parse(CERTIFICATE, argv)
    command = (options.arguments or [""])[0]
    data = DataDir(options.text("data-dir"))
    if command == "check":
        return _check(data, options)
    if command == "rotate":
        return _rotate(data, options.list("service"))
    if command == "rotate-ca":
        return _rotate_authorities(data, Path(options.text("path")), is_forced=options.is_on("force"))
    return log.fatal(f"No help topic for '{command}'")


def _files(data: DataDir, services: Sequence[str]) -> list[tuple[Path, str]]:
    """Certificates on this disk and their services; all when none is named."""
    unknown = [service for service in services if service not in SERVICES]
    if unknown:
        log.fatal(f"{unknown[0]} is not a recognized service")
    found = [(data.tls / f"{leaf.name}.crt", leaf.service) for leaf in pki.LEAVES]
    for name, service in (
        ("client-kubelet", "kubelet"),
        ("serving-kubelet", "kubelet"),
        ("client-kube-proxy", "kube-proxy"),
    ):
        found.append((data.agent / f"{name}.crt", service))
    found.append((data.agent / "client-k3s-controller.crt", "k3s-controller"))
    return [(path, service) for path, service in found if path.exists() and (not services or service in services)]


def _check(data: DataDir, options: Options) -> int:
    now = clock.now()
    rows = []
    for path, _ in _files(data, options.list("service")):
        for certificate in x509.load_pem_x509_certificates(path.read_bytes()):
            ends = certificate.not_valid_after_utc
            status = "EXPIRED" if ends < now else "WARNING" if ends - now < pki.RENEW_WITHIN else "OK"
            rows.append(
                (path.name, _name(certificate), _usages(certificate), ends, f"{(ends - now).days} days", status)
            )
    output = options.text("output")
    if output in ("json", "yaml"):
        keys = ("filename", "subject", "usages", "expiryTime", "residualTime", "status")
        print(json.dumps({"certificates": [dict(zip(keys, _texts(row), strict=True)) for row in rows]}))
    elif output == "table":
        header = ("FILENAME", "SUBJECT", "USAGES", "EXPIRES", "RESIDUAL TIME", "STATUS")
        lines = [header, tuple("-" * len(word) for word in header), *(_texts(row) for row in rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
        for line in lines:
            print("   ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip())
    else:
        for name, subject, _, ends, _, status in rows:
            say = log.info if status == "OK" else log.warn
            say(f"{name}: certificate CN={subject} is {status}, expires at {ends:%Y-%m-%dT%H:%M:%SZ}")
    return 0


def _texts(row: tuple[str, str, str, datetime.datetime, str, str]) -> tuple[str, ...]:
    return (row[0], row[1], row[2], f"{row[3]:%b %d, %Y %H:%M} UTC", row[4], row[5])


def _name(certificate: x509.Certificate) -> str:
    return str(certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)


def _usages(certificate: x509.Certificate) -> str:
    names = {pki._CLIENT: "ClientAuth", pki._SERVER: "ServerAuth"}
    try:
        found = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return "CertSign"
    return ",".join(names.get(usage, "") for usage in found)


def _rotate(data: DataDir, services: Sequence[str]) -> int:
    """Certificates and keys go, after a copy; the next start makes new ones."""
    found = _files(data, services)
    if not found:
        log.fatal(f"no certificates found in {data.path}")
    backup = (
        data.server / f"tls-{int(clock.seconds())}"
        if data.server.exists()
        else data.agent / f"tls-{int(clock.seconds())}"
    )
    log.info(f"Rotating certificates for {', '.join(sorted({service for _, service in found}))}, backup in {backup}")
    for path, _ in found:
        for file in (path, path.with_suffix(".key")):
            if file.exists():
                target = backup / file.relative_to(data.path)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(file, target)
    backup.chmod(0o700)
    log.info(
        "Successfully rotated certificates for all services, please restart k3s server or agent to apply the changes"
    )
    return 0


def _rotate_authorities(data: DataDir, source: Path, *, is_forced: bool) -> int:
    """New authorities into the datastore, for the next start of each server."""
    etcd = Etcd(data, "127.0.0.1", "")
    if not etcd.has_data:
        log.fatal("this stand-in for K3s rotates authorities in the embedded etcd only")
    folder = source / "tls" if (source / "tls").is_dir() else source
    files = bootstrap.load_files(data)
    for name in pki.AUTHORITIES:
        certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
        if not certificate.exists() or not key.exists():
            log.fatal(f"failed to read {certificate}: no such file or directory")
        _check_pair(certificate, key, data.tls / f"{name}.crt", is_forced=is_forced)
        files |= {f"tls/{name}.crt": certificate.read_text(), f"tls/{name}.key": key.read_text()}
    if (folder / "service.key").exists():
        files["tls/service.key"] = (folder / "service.key").read_text()
    try:
        etcd.run("put", *bootstrap.entry(files, tokens.parse(data.token.read_text()).password))
    except (EtcdError, subprocess.SubprocessError) as error:
        log.fatal(f"see server log for details: {error}")
    log.info("certificates saved to datastore")
    return 0


def _check_pair(certificate: Path, key: Path, former: Path, *, is_forced: bool) -> None:
    new = x509.load_pem_x509_certificates(certificate.read_bytes())
    pair = serialization.load_pem_private_key(key.read_bytes(), None)
    encoding = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if pair.public_key().public_bytes(*encoding) != new[0].public_key().public_bytes(*encoding):
        log.fatal(f"{certificate.name}: certificate and key do not belong together")
    old = x509.load_pem_x509_certificates(former.read_bytes())
    if not is_forced and old[-1] not in new:
        log.fatal(
            f"{certificate.name}: new CA cert and key cert do not have a common root with the former; use --force to bypass"
        )
