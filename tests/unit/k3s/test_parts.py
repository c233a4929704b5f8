"""Parts of the stand-in that need no program: tokens, bootstrap data, certificates, schedules, images."""

from __future__ import annotations

import datetime
import hashlib
import os
from pathlib import Path

import pytest
from cryptography import x509

from tests.k3s import bootstrap, log, pki, snapshots, tokens
from tests.k3s.options import SERVER, SNAPSHOT, parse
from tests.k3s.paths import DataDir


def test_token_in_both_forms() -> None:
    authority = hashlib.sha256(b"pem").hexdigest()
    text = tokens.Token("", "server", "secret").format(b"pem")
    assert text == f"K10{authority}::server:secret"
    assert tokens.parse(text) == tokens.Token(authority, "server", "secret")
    assert tokens.parse("secret\n") == tokens.Token("", "", "secret")
    with pytest.raises(log.FatalError, match="invalid token format"):
        tokens.parse("K10abc:server")


def test_a_first_server_takes_no_token_that_names_an_authority(tmp_path: Path) -> None:
    given = parse(SERVER, ["--token", "K10" + "0" * 64 + "::server:secret"], {})
    with pytest.raises(log.FatalError, match="K10"):
        tokens.want_server_token(DataDir(tmp_path), given)


def test_bootstrap_data_opens_with_its_token_alone() -> None:
    sealed = bootstrap.encrypt("the keys", "right")
    assert "the keys" not in sealed
    assert bootstrap.decrypt(sealed, "right") == "the keys"
    with pytest.raises(log.FatalError, match="different token"):
        bootstrap.decrypt(sealed, "wrong")


def test_certificates_are_renewed_in_their_last_days_with_the_same_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = DataDir(tmp_path)
    data.make_server()
    pki.make_authorities(data)
    monkeypatch.setenv("CATTLE_NEW_SIGNED_CERT_EXPIRATION_DAYS", "100")
    pki.make_leaves(data, ["10.0.0.1"])
    files = (data.tls / "client-admin.crt", data.tls / "client-admin.key")
    before = [file.read_bytes() for file in files]
    monkeypatch.delenv("CATTLE_NEW_SIGNED_CERT_EXPIRATION_DAYS")
    pki.make_leaves(data, ["10.0.0.1"])
    after = [file.read_bytes() for file in files]
    assert (before[0] == after[0], before[1] == after[1]) == (False, True)
    pki.make_leaves(data, ["10.0.0.1"])
    assert [file.read_bytes() for file in files] == after
    # A further name makes a new certificate for servers alone.
    pki.make_leaves(data, ["10.0.0.1", "api.example"])
    assert [file.read_bytes() for file in files] == after
    serving = x509.load_pem_x509_certificate((data.tls / "serving-kube-apiserver.crt").read_bytes())
    names = serving.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "api.example" in names.get_values_for_type(x509.DNSName)


@pytest.mark.parametrize(
    ("schedule", "moment", "is_time"),
    [
        ("0 */12 * * *", "2026-11-28T12:00", True),
        ("0 */12 * * *", "2026-11-28T13:00", False),
        ("*/5 1-3 * * *", "2026-11-28T02:35", True),
        ("*/5 1-3 * * *", "2026-11-28T04:35", False),
        ("0 2 * * 6", "2026-11-28T02:00", True),
        ("0 2 * * 0", "2026-11-28T02:00", False),
        ("30 2 1,15 * *", "2026-11-15T02:30", True),
    ],
)
def test_schedules(schedule: str, moment: str, is_time: bool) -> None:
    assert snapshots.is_time(schedule, datetime.datetime.fromisoformat(moment)) is is_time


def test_prune_keeps_the_newest_of_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "server" / "db" / "snapshots"
    folder.mkdir(parents=True)
    for number in range(4):
        for base in ("mine", "other"):
            path = folder / f"{base}-n-{1000 + number}"
            path.touch()
            os.utime(path, (1000 + number, 1000 + number))
    given = parse(SNAPSHOT, ["prune", "--snapshot-retention", "2"], {})
    snapshots.prune(DataDir(tmp_path), given, "mine", "n")
    left = sorted(path.name for path in folder.iterdir())
    assert left == ["mine-n-1002", "mine-n-1003", *[f"other-n-{1000 + number}" for number in range(4)]]
