"""Downloads from servers that cut, stall, lie, refuse and redirect; mirrors, budget and priority."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from eaves.node.desired.model import DatastoreKind, DesiredDatastore, Secret
from eaves.node.manager import EngineOptions
from eaves.node.observed import ImageState, ImageStatus
from eaves.testing.disk_images import wait_fault, wait_loaded, want_files, want_raw
from eaves.testing.engine_host import EngineHost
from eaves.testing.fault_proxy import FaultProxy, Faults
from eaves.testing.file_server import FileServer
from eaves.testing.registry import Registry

pytestmark = pytest.mark.contract

CONTENT = os.urandom(4 << 20)
NOBODY = DesiredDatastore("nobody", DatastoreKind.HTTP, "http://127.0.0.1:9")


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer() as found:
        yield found


@pytest.fixture
def mirror() -> Iterator[FileServer]:
    with FileServer() as found:
        yield found


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[EngineHost]:
    options = EngineOptions(first_retry_s=0.3, stalled_after_s=6.0)
    async with EngineHost(tmp_path, options) as found:
        yield found


async def read(path: str) -> bytes:
    return await asyncio.to_thread(Path(path).read_bytes)


async def test_a_link_that_is_cut_again_and_again_costs_no_byte_twice(host: EngineHost, server: FileServer) -> None:
    digest = server.add("/disk.raw", CONTENT)
    server.manners.cut_after_bytes = 1 << 20
    await host.apply(images=(want_raw(host, want_files(server), digest=digest),))
    pin = await wait_loaded(host)
    assert await read(pin.path) == CONTENT
    assert server.served_bytes == len(CONTENT)
    ranges = [asked.headers.get("range", "") for asked in server.asked]
    assert ranges == ["", *(f"bytes={n << 20}-" for n in range(1, 4))]
    assert all(asked.headers.get("if-range") for asked in server.asked[1:])


@pytest.mark.parametrize("how", ["restart", "power cut"])
async def test_a_download_goes_on_after(how: str, host: EngineHost, server: FileServer) -> None:
    digest = server.add("/disk.raw", CONTENT)
    server.manners.stall_after_bytes = 3 << 20
    image = want_raw(host, want_files(server), digest=digest)
    await host.apply(images=(image,))
    await host.wait(ImageStatus, "disk", lambda status: status.downloaded_bytes >= 2 << 20)
    if how == "restart":
        await host.stop()
    else:
        await host.cut_power()
    server.manners.stall_after_bytes = 0
    await host.start()
    await host.apply()
    pin = await wait_loaded(host)
    assert await read(pin.path) == CONTENT
    assert server.asked[-1].headers["range"].startswith("bytes=")


async def test_what_a_power_cut_may_have_lost_is_fetched_again(host: EngineHost, server: FileServer) -> None:
    """A file can be longer after a cut than what was written into it: only what was synced counts."""
    digest = server.add("/disk.raw", CONTENT)
    name = digest.removeprefix("sha256:")
    partial = host.instance.blobs_dir / "partial"
    await asyncio.to_thread((partial / name).write_bytes, CONTENT[: 1 << 20] + bytes(1 << 20))
    record = b'{"source": "", "validator": "", "synced_bytes": %d, "boot_id": "another"}' % (1 << 20)
    await asyncio.to_thread((partial / f"{name}.json").write_bytes, record)
    await host.apply(images=(want_raw(host, want_files(server), digest=digest),))
    assert await read((await wait_loaded(host)).path) == CONTENT
    assert [asked.headers.get("range") for asked in server.asked] == [f"bytes={1 << 20}-"]


@pytest.mark.parametrize("start", [b"garbage" * 1000, b"longer than the whole" + CONTENT])
async def test_a_partial_file_of_other_content_is_given_up(host: EngineHost, server: FileServer, start: bytes) -> None:
    digest = server.add("/disk.raw", CONTENT)
    partial = host.instance.blobs_dir / "partial" / digest.removeprefix("sha256:")
    await asyncio.to_thread(partial.write_bytes, start)
    boot_id = (await asyncio.to_thread(Path("/proc/sys/kernel/random/boot_id").read_bytes)).strip().decode()
    await asyncio.to_thread(partial.with_name(f"{partial.name}.json").write_text, f'{{"boot_id": "{boot_id}"}}')
    await host.apply(images=(want_raw(host, want_files(server), digest=digest),))
    assert await read((await wait_loaded(host)).path) == CONTENT


@pytest.mark.parametrize("change", ["etag", "no ranges"])
async def test_a_server_that_does_not_go_on_is_read_from_the_start(
    host: EngineHost, server: FileServer, change: str
) -> None:
    digest = server.add("/disk.raw", CONTENT)
    server.manners.etag = '"one"'
    server.manners.stall_after_bytes = 2 << 20
    await host.apply(images=(want_raw(host, want_files(server), digest=digest),))
    assert (await wait_fault(host)).code == "DownloadStalled"
    server.manners.stall_after_bytes = 0
    if change == "etag":
        server.manners.etag = '"two"'
    else:
        server.manners.ranges = False
    assert await read((await wait_loaded(host)).path) == CONTENT


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, "AuthenticationFailed"), (403, "AuthenticationFailed"), (404, "ImageNotFound"), (503, "DownloadFailed")],
)
async def test_refusals_are_named_and_tried_again(host: EngineHost, server: FileServer, status: int, code: str) -> None:
    digest = server.add("/disk.raw", CONTENT)
    server.manners.status = status
    await host.apply(images=(want_raw(host, want_files(server), digest=digest),))
    fault = await wait_fault(host)
    assert (fault.code, bool(fault.resolution)) == (code, True)
    server.manners.status = 0
    await wait_loaded(host)


async def test_a_server_that_asks_for_time_is_left_alone(host: EngineHost, server: FileServer) -> None:
    digest = server.add("/disk.raw", CONTENT)
    server.manners.status, server.manners.retry_after = 429, "1200"
    await host.apply(images=(want_raw(host, want_files(server), digest=digest),))
    fault = await wait_fault(host)
    assert fault.code == "TooManyRequests"
    assert 1100 < fault.retry_at - time.time() < 1300


async def test_what_is_too_large_or_not_what_was_asked_for(host: EngineHost, server: FileServer) -> None:
    store = want_files(server)
    digest = server.add("/disk.raw", CONTENT)
    large = want_raw(host, store, digest=digest, id="large", max_size_bytes=1 << 20)
    other = want_raw(host, store, digest="sha256:" + "0" * 64, id="other")
    unnamed = want_raw(host, store, digest="", id="unnamed")
    await host.apply(images=(large, other, unnamed))
    assert (await wait_fault(host, "large")).code == "ImageTooLarge"
    assert (await wait_fault(host, "other")).code == "DigestMismatch"
    assert (await wait_fault(host, "unnamed")).code == "DigestMissing"


async def test_credentials_never_follow_to_another_host(
    host: EngineHost, server: FileServer, mirror: FileServer
) -> None:
    digest = mirror.add("/elsewhere", CONTENT)
    server.manners.redirects["/disk.raw"] = f"{mirror.url}/elsewhere"
    store = want_files(server, username="me", password=Secret("hidden"))
    await host.apply(images=(want_raw(host, store, digest=digest),))
    await wait_loaded(host)
    assert "authorization" in server.asked[0].headers
    assert "authorization" not in mirror.asked[0].headers
    assert "hidden" not in str(list(host.observations.each(ImageStatus)))


async def test_redirects_in_a_circle_end(host: EngineHost, server: FileServer) -> None:
    server.manners.redirects["/disk.raw"] = "/disk.raw"
    await host.apply(images=(want_raw(host, want_files(server), digest="sha256:" + "0" * 64),))
    assert (await wait_fault(host)).code == "RedirectLoop"


async def test_private_authority(host: EngineHost, tmp_path: Path) -> None:
    with FileServer(tls_folder=tmp_path) as server:
        digest = server.add("/disk.raw", CONTENT)
        good = want_files(server, kind=DatastoreKind.HTTPS)
        unknown = replace(good, ca_pems=())
        await host.apply(
            images=(
                want_raw(host, good, digest=digest),
                want_raw(host, unknown, digest="sha256:" + "0" * 64, id="unknown"),
            )
        )
        assert (await wait_fault(host, "unknown")).code == "CertificateUntrusted"
        await wait_loaded(host)


async def test_each_datastore_is_tried_and_its_reason_told(
    host: EngineHost, server: FileServer, mirror: FileServer
) -> None:
    digest = server.add("/disk.raw", CONTENT)
    mirror.manners.status = 403
    stores = (NOBODY, want_files(mirror, id="refuses"), want_files(server))
    server.manners.status = 404
    await host.apply(images=(want_raw(host, *stores, digest=digest),))
    fault = await wait_fault(host)
    for reason in ("127.0.0.1:9: no connection", "403", "has no disk.raw"):
        assert reason in fault.message
    server.manners.status = 0
    await wait_loaded(host)


@pytest.mark.parametrize("fate", ["good", "down", "lying", "cut"])
async def test_a_mirror_is_asked_first_and_never_trusted(
    host: EngineHost, server: FileServer, mirror: FileServer, fate: str
) -> None:
    digest = server.add("/disk.raw", CONTENT)
    mirror.add("/cache/disk.raw", CONTENT)
    mirror.manners.is_corrupt = fate == "lying"
    mirror.manners.stall_after_bytes = (1 << 20) * (fate == "cut")
    near = NOBODY if fate == "down" else want_files(mirror, id="mirror", path="cache")
    store = want_files(server, mirrors=(near,), username="me", password=Secret("hidden"))
    await host.apply(images=(want_raw(host, store, digest=digest),))
    assert await read((await wait_loaded(host)).path) == CONTENT
    expected = {"good": 0, "down": len(CONTENT), "lying": len(CONTENT), "cut": len(CONTENT) - mirror.served_bytes}
    assert server.served_bytes == expected[fate]
    assert all("authorization" not in asked.headers for asked in mirror.asked)


async def test_a_lying_mirror_spoils_nothing_that_came_from_elsewhere(
    host: EngineHost, server: FileServer, mirror: FileServer
) -> None:
    digest = server.add("/disk.raw", CONTENT)
    mirror.add("/disk.raw", CONTENT)
    mirror.manners.is_corrupt = True
    server.manners.stall_after_bytes = 2 << 20
    store = want_files(server, mirrors=(want_files(mirror, id="mirror"),))
    await host.apply(images=(want_raw(host, store, digest=digest),))
    # The mirror's whole file was wrong, then half of the datastore's came: in the next attempt the mirror goes on after that.
    await wait_fault(host)
    server.manners.stall_after_bytes = 0
    assert await read((await wait_loaded(host)).path) == CONTENT
    assert any(asked.headers.get("range") for asked in mirror.asked)
    assert server.served_bytes < len(CONTENT) + (1 << 20)


async def test_a_registry_mirror_gives_content_and_no_meaning_of_tags(host: EngineHost, registry: Registry) -> None:
    digest = await asyncio.to_thread(registry.push, "shop/mirrored:1", ("sleep", "1"))
    async with FaultProxy(registry.server) as origin, FaultProxy(registry.server) as near:
        store = replace(registry.datastore(origin.server), mirrors=(replace(registry.datastore(near.server), id="m"),))
        image = host.image(store, "shop/mirrored:1", id="web")
        await host.apply(images=(image,))
        status = await host.wait(ImageStatus, "web", lambda found: found.state is ImageState.LOADED)
        assert status.digest == digest
        # The tag's meaning is a few hundred bytes; all else came from the mirror.
        assert origin.served_bytes < 4096 < near.served_bytes


async def test_a_layer_is_resumed_in_its_middle(host: EngineHost, registry: Registry) -> None:
    await asyncio.to_thread(registry.push, "shop/cut:1", ("sleep", "1"), padding_bytes=4 << 20)
    async with FaultProxy(registry.server, Faults(cut_after_bytes=2 << 20)) as proxy:
        image = host.image(registry.datastore(proxy.server), "shop/cut:1", id="web")
        await host.apply(images=(image,))
        status = await host.wait(ImageStatus, "web", lambda found: found.state is ImageState.LOADED)
        assert proxy.served_bytes < status.size_bytes + (1 << 20)


async def test_the_budget_is_kept_over_restarts_and_may_be_raised(host: EngineHost, server: FileServer) -> None:
    digest = server.add("/disk.raw", CONTENT)
    server.manners.bytes_per_s = 1 << 19
    image = want_raw(host, want_files(server), digest=digest)
    await host.apply(images=(image,), config_items={"eaves.download.budget.day": "1"})
    fault = await wait_fault(host)
    assert fault.code == "DownloadBudgetUsed"
    assert fault.retry_at > time.time()
    assert server.served_bytes < len(CONTENT)
    asked = len(server.asked)
    await host.stop()
    await host.start()
    await host.apply()
    assert (await wait_fault(host)).code == "DownloadBudgetUsed"
    assert len(server.asked) == asked
    server.manners.bytes_per_s = 0
    await host.apply(config_items={"eaves.download.budget.day": "100"})
    await wait_loaded(host)


async def test_the_rate_is_kept(host: EngineHost, server: FileServer) -> None:
    digest = server.add("/disk.raw", CONTENT)
    begun = time.monotonic()
    image = want_raw(host, want_files(server), digest=digest)
    await host.apply(images=(image,), config_items={"eaves.download.rate.limit": "2048"})
    await wait_loaded(host)
    assert time.monotonic() - begun > 1.5


async def test_what_an_app_waits_for_comes_before_what_is_fetched_ahead(
    host: EngineHost, server: FileServer, registry: Registry
) -> None:
    await asyncio.to_thread(registry.push, "shop/urgent:1", ("sleep", "1000"))
    digest = server.add("/disk.raw", CONTENT)
    server.manners.bytes_per_s = 1 << 20
    ahead = want_raw(host, want_files(server), digest=digest)
    await host.apply(images=(ahead,))
    await host.wait(ImageStatus, "disk", lambda status: status.downloaded_bytes > 0)
    async with FaultProxy(registry.server, Faults(bytes_per_s=1 << 20)) as proxy:
        urgent = host.image(registry.datastore(proxy.server), "shop/urgent:1", id="urgent")
        network = host.network()
        app = host.app("urgent", urgent, network)
        await host.apply(images=(ahead, urgent), networks=(network,), apps=(app,))
        await host.wait(ImageStatus, "urgent", lambda status: status.downloaded_bytes > 0)
        await host.wait(ImageStatus, "disk", lambda status: status.state is ImageState.WAITING)
        await host.wait_app("urgent")
    server.manners.bytes_per_s = 0
    assert await read((await wait_loaded(host)).path) == CONTENT
    assert server.asked[-1].headers.get("range"), "what was there already is not fetched again"


async def test_a_full_disk_is_told_before_anything_is_fetched(host: EngineHost, server: FileServer) -> None:
    digest = server.add("/disk.raw", CONTENT)
    server.pretended_bytes = 1 << 60
    await host.apply(images=(want_raw(host, want_files(server), digest=digest),))
    assert (await wait_fault(host)).code == "StorageFull"
    server.pretended_bytes = 0
    await wait_loaded(host)
