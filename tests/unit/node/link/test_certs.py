"""The controller's certificates: what is taken, kept, refused, and when it is fetched again."""

from __future__ import annotations

import asyncio
import datetime
from pathlib import Path

import pytest

from eaves.node.link.certs import MISS_PAUSE_S, CertificateKeeper
from eaves.node.link.errors import AnswerError, DialError
from eaves.testing.authority import DAY, Authority, now
from eaves.wire.errors import CertificateMissError, CertificateSetError, ChainError, SignatureError


class Source:
    """Serves ``/certs`` of an authority; counts."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.fetches: list[float] = []
        self.error: Exception | None = None

    async def fetch(self) -> bytes:
        self.fetches.append(asyncio.get_running_loop().time())
        if self.error is not None:
            raise self.error
        return self.authority.signer.seal(self.authority.certs_payload())


def keeper(folder: Path, source: Source, moment: datetime.datetime | None = None) -> CertificateKeeper:
    return CertificateKeeper(folder, source.authority.root_pem, source.fetch, now=lambda: moment or now())


async def test_set_survives_a_restart_without_a_controller(tmp_path: Path) -> None:
    source = Source(Authority())
    first = keeper(tmp_path, source)
    assert await first.fetch()
    source.error = DialError("down")
    second = keeper(tmp_path, source)
    await second.load()
    assert second.open(source.authority.signer.seal(b"hello")) == b"hello"


@pytest.mark.parametrize("years", [-30, 30])
async def test_saved_set_is_good_whatever_the_clock_says(tmp_path: Path, years: int) -> None:
    source = Source(Authority())
    await keeper(tmp_path, source).fetch()
    late = keeper(tmp_path, source, now() + years * 365 * DAY)
    await late.load()
    assert late.current is not None


@pytest.mark.parametrize("years", [-30, 30])
async def test_wrong_clock_refuses_a_new_set_and_says_why(tmp_path: Path, years: int) -> None:
    late = keeper(tmp_path, Source(Authority()), now() + years * 365 * DAY)
    with pytest.raises(ChainError) as caught:
        await late.fetch()
    assert "clock" in caught.value.resolution


async def test_order_of_the_certificates_is_no_change(tmp_path: Path) -> None:
    certs = keeper(tmp_path, Source(Authority()))
    assert await certs.fetch()
    assert [await certs.fetch() for _ in range(5)] == [False] * 5


async def test_rotation_keeps_the_former_set_for_answers_under_way(tmp_path: Path) -> None:
    source = Source(Authority())
    certs = keeper(tmp_path, source)
    await certs.fetch()
    old = source.authority.signer
    source.authority.rotate_signing()
    with pytest.raises(CertificateMissError):
        certs.open(source.authority.signer.seal(b"new"))
    told: list[bool] = []
    certs.changed = lambda: told.append(True)
    assert await certs.fetch()
    assert told == [True]
    assert certs.open(source.authority.signer.seal(b"new")) == b"new"
    assert certs.open(old.seal(b"old")) == b"old"
    again = keeper(tmp_path, source)
    await again.load()
    assert again.open(old.seal(b"old")) == b"old"


async def test_forged_signature_is_no_reason_to_fetch(tmp_path: Path) -> None:
    source = Source(Authority())
    certs = keeper(tmp_path, source)
    await certs.fetch()
    sealed = bytearray(source.authority.signer.seal(b"payload"))
    sealed[sealed.index(b"payload")] ^= 1
    with pytest.raises(SignatureError):
        certs.open(bytes(sealed))


async def test_set_of_another_root_is_refused_and_the_old_one_stays(tmp_path: Path) -> None:
    source = Source(Authority())
    certs = keeper(tmp_path, source)
    await certs.fetch()
    mine = source.authority
    source.authority = Authority()
    with pytest.raises(ChainError):
        await certs.fetch()
    assert certs.open(mine.signer.seal(b"x")) == b"x"
    assert "path" in certs.last_error


async def test_what_is_no_set_is_refused(tmp_path: Path) -> None:
    source = Source(Authority())
    for body, error in ((b"\xff\xff", AnswerError), (source.authority.signer.seal(b""), CertificateSetError)):

        async def fetch(body: bytes = body) -> bytes:
            return body

        certs = CertificateKeeper(tmp_path, source.authority.root_pem, fetch, now=now)
        with pytest.raises(error):
            await certs.fetch()


async def test_damaged_checkpoint_is_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "controllercerts").write_bytes(b"\0garbage")
    certs = keeper(tmp_path, Source(Authority()))
    await certs.load()
    assert certs.current is None
    assert (await certs.want_current()).ecdh


async def test_key_agreement_certificate_is_found_by_either_hash(tmp_path: Path) -> None:
    source = Source(Authority())
    certs = keeper(tmp_path, source)
    await certs.fetch()
    assert certs.current is not None
    short = certs.current.ecdh[0].cert_hash
    assert certs.find_ecdh(short) == source.authority.ecdh
    assert certs.find_ecdh(bytes(16)) is None


@pytest.mark.looptime
async def test_requests_to_fetch_are_spaced_and_none_is_lost(tmp_path: Path) -> None:
    source = Source(Authority())
    source.error = DialError("down")
    certs = keeper(tmp_path, source)
    task = asyncio.create_task(certs.run())
    await asyncio.sleep(1)
    assert len(source.fetches) == 1
    certs.request_fetch()
    await asyncio.sleep(1)
    certs.request_fetch()
    assert len(source.fetches) == 1
    await asyncio.sleep(MISS_PAUSE_S)
    assert len(source.fetches) == 2
    await asyncio.sleep(3600)
    gaps = [later - earlier for earlier, later in zip(source.fetches[1:], source.fetches[2:], strict=False)]
    assert max(gaps) <= 120
    task.cancel()
    await asyncio.wait([task])


async def test_clock_that_is_certainly_behind_keeps_no_good_set_out(tmp_path: Path) -> None:
    source = Source(Authority())
    early = now() - 30 * 365 * DAY
    late = CertificateKeeper(
        tmp_path, source.authority.root_pem, source.fetch, now=lambda: early, is_clock_behind=lambda: True
    )
    assert await late.fetch()
    again = keeper(tmp_path, source, early)
    await again.load()
    assert again.current is not None
