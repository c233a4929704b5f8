"""The controller's keys: made once, renewed in time, rotated with an overlap, read only by their owner."""

from __future__ import annotations

import datetime
import ssl
import stat
import subprocess
from pathlib import Path

import pytest

from eaves.controller import identity
from eaves.controller.identity import GivenFiles, Identity
from eaves.controller.keyfolder import KeyFileError
from eaves.wire import controller_certs, envelope
from eaves.wire.errors import ChainError

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime.datetime:
        return self.now

    def go_on(self, **delta: int) -> None:
        self.now += datetime.timedelta(**delta)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def make(folder: Path, clock: Clock, hosts: tuple[str, ...] = ("ctl.example", "192.0.2.1")) -> Identity:
    return identity.open_identity(folder, hosts, GivenFiles(), clock)


def test_a_second_start_finds_the_same_keys(tmp_path: Path, clock: Clock) -> None:
    first, second = make(tmp_path, clock).current, make(tmp_path, clock).current
    assert first.signer.cert_hash == second.signer.cert_hash
    assert first.certs_hash == second.certs_hash
    assert first.root_pem == second.root_pem
    assert first.iv_secret == second.iv_secret


def test_devices_accept_the_served_set_and_what_is_signed(tmp_path: Path, clock: Clock) -> None:
    current = make(tmp_path, clock).current
    certs = controller_certs.check_controller_certs(current.certs_payload, current.root_pem, START)
    assert certs.signing_sha256 == current.signer.cert_hash
    sealed = current.signer.seal(b"hello")
    assert envelope.open_envelope(sealed, certs.signing_sha256, certs.signing_key) == b"hello"


def test_key_files_are_for_the_owner_alone(tmp_path: Path, clock: Clock) -> None:
    folder = tmp_path / "pki"
    make(folder, clock)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_openssl_accepts_the_server_certificate_for_its_hosts(tmp_path: Path, clock: Clock) -> None:
    current = make(tmp_path, clock).current
    root = tmp_path / "root.pem"
    root.write_bytes(current.root_pem)
    at = str(int(START.timestamp()))
    for option, host in (("-verify_hostname", "ctl.example"), ("-verify_ip", "192.0.2.1")):
        command = ["openssl", "verify", "-attime", at, "-CAfile", str(root), option, host, str(current.server_file)]
        done = subprocess.run(command, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
    ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(current.server_file)


def test_rotation_signs_with_a_new_key_and_keeps_the_old_ecdh_certificate(tmp_path: Path, clock: Clock) -> None:
    running = make(tmp_path, clock)
    before = running.current
    clock.go_on(days=1)
    make(tmp_path, clock).rotate()
    assert running.reload() is True
    after = running.current
    assert after.signer.cert_hash != before.signer.cert_hash
    assert after.certs_hash != before.certs_hash
    assert after.root_pem == before.root_pem
    assert [key.cert_hash for key in after.ecdh[1:]] == [before.ecdh[0].cert_hash]
    assert after.ecdh[0].cert_hash != before.ecdh[0].cert_hash
    certs = controller_certs.check_controller_certs(after.certs_payload, before.root_pem, clock.now)
    assert len(certs.ecdh) == 2


def test_the_old_ecdh_certificate_goes_after_its_overlap(tmp_path: Path, clock: Clock) -> None:
    running = make(tmp_path, clock)
    running.rotate()
    assert len(running.current.ecdh) == 2
    clock.go_on(days=366)
    running.reload()
    assert len(running.current.ecdh) == 1


def test_keys_are_renewed_before_they_expire_and_not_earlier(tmp_path: Path, clock: Clock) -> None:
    running = make(tmp_path, clock)
    before = running.current
    clock.go_on(days=200)
    assert running.reload() is False
    clock.go_on(days=2 * 365)
    assert running.reload() is True
    after = running.current
    assert after.signer.cert_hash != before.signer.cert_hash
    controller_certs.check_controller_certs(after.certs_payload, after.root_pem, clock.now)


def test_certificates_made_while_the_clock_was_ahead_are_replaced(tmp_path: Path, clock: Clock) -> None:
    clock.go_on(days=700)
    make(tmp_path, clock)
    clock.now = START + datetime.timedelta(days=100)
    current = make(tmp_path, clock).current
    with pytest.raises(ChainError):
        # The authority itself is from the future; the leaves are what a restart can mend.
        controller_certs.check_controller_certs(current.certs_payload, current.root_pem, clock.now)
    certs = controller_certs.check_controller_certs(current.certs_payload, current.root_pem, START.replace(year=2028))
    assert certs.signing_sha256 == current.signer.cert_hash


def test_another_host_name_gives_another_server_certificate(tmp_path: Path, clock: Clock) -> None:
    before = make(tmp_path, clock).current
    text = before.server_file.read_bytes()
    after = make(tmp_path, clock, ("other.example",)).current
    assert after.server_file.read_bytes() != text
    assert after.signer.cert_hash == before.signer.cert_hash


def test_given_files_are_used_as_they_are(tmp_path: Path, clock: Clock) -> None:
    operator = make(tmp_path / "operator", clock)
    folder = tmp_path / "operator"
    root = tmp_path / "root.pem"
    root.write_bytes(operator.current.root_pem)
    given = GivenFiles(
        server_certificate=folder / "tls.pem",
        authority=root,
        signing=folder / "signing-0001.pem",
        ecdh=folder / "ecdh-0001.pem",
    )
    mine = identity.open_identity(tmp_path / "mine", ("x.example",), given, clock)
    assert mine.current.signer.cert_hash == operator.current.signer.cert_hash
    assert mine.current.root_pem == operator.current.root_pem
    assert mine.current.server_file.read_bytes() == operator.current.server_file.read_bytes()
    mine.rotate()
    assert mine.current.certs_hash == operator.current.certs_hash


def test_a_key_that_does_not_fit_its_certificate_is_named(tmp_path: Path, clock: Clock) -> None:
    make(tmp_path / "a", clock)
    make(tmp_path / "b", clock)
    a, b = ((tmp_path / name / "signing-0001.pem").read_bytes() for name in "ab")
    mixed = tmp_path / "mixed.pem"
    mixed.write_bytes(a[: a.index(b"-----BEGIN PRIVATE")] + b[b.index(b"-----BEGIN PRIVATE") :])
    with pytest.raises(KeyFileError, match="belongs to another key") as caught:
        identity.open_identity(tmp_path / "c", (), GivenFiles(signing=mixed), clock)
    assert str(mixed) in str(caught.value)
