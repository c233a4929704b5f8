"""Disk images from a real S3 server that checks signatures."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from eaves.node.desired.model import DesiredDatastore, DesiredImage, ImageFormat, Secret
from eaves.node.images.ways import WebProxy
from eaves.node.manager import EngineOptions
from eaves.testing.disk_images import wait_fault, wait_loaded
from eaves.testing.engine_host import EngineHost
from eaves.testing.fault_proxy import FaultProxy, Faults
from eaves.testing.s3_server import BUCKET, REGION, S3Server

pytestmark = pytest.mark.contract

CONTENT = os.urandom(3 << 20)
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
KEY = "vm images/debian+12 (é).raw"


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with S3Server(tmp_path_factory.mktemp("s3")) as found:
        found.put(KEY, CONTENT)
        yield found


def want_disk(host: EngineHost, store: DesiredDatastore, digest: str = DIGEST, image_id: str = "disk") -> DesiredImage:
    reference = KEY.removeprefix("vm images/")
    return host.image(store, reference, id=image_id, name=image_id, format=ImageFormat.RAW, digest=digest)


async def test_a_signed_download_and_what_is_refused(host: EngineHost, s3: S3Server) -> None:
    store = s3.datastore()
    nowhere = "sha256:" + "0" * 64
    wrong = replace(store, password=Secret("wrong"))
    await host.apply(
        images=(
            want_disk(host, store),
            want_disk(host, wrong, nowhere, "wrong"),
            want_disk(host, replace(store, username="", password=Secret("")), nowhere, "anonymous"),
            want_disk(host, replace(store, path=f"{BUCKET}/gone"), nowhere, "gone"),
            want_disk(host, replace(store, path="no-such-bucket"), nowhere, "bucket"),
        )
    )
    pin = await wait_loaded(host)
    assert await asyncio.to_thread(Path(pin.path).read_bytes) == CONTENT
    codes = {name: (await wait_fault(host, name)).code for name in ("wrong", "anonymous", "gone", "bucket")}
    assert codes == {
        "wrong": "AuthenticationFailed",
        "anonymous": "AuthenticationFailed",
        "gone": "ImageNotFound",
        "bucket": "ImageNotFound",
    }


async def test_a_cut_download_goes_on_with_a_signature_of_its_own(host: EngineHost, s3: S3Server) -> None:
    async with FaultProxy(f"127.0.0.1:{s3.port}", Faults(cut_after_bytes=1 << 20)) as proxy:
        await host.apply(images=(want_disk(host, s3.datastore(server=f"http://{proxy.server}")),))
        pin = await wait_loaded(host)
        assert await asyncio.to_thread(Path(pin.path).read_bytes) == CONTENT
        assert proxy.served_bytes < 2 * len(CONTENT)


async def test_the_bucket_in_the_host_and_a_proxy_on_the_way(tmp_path: Path, s3: S3Server) -> None:
    """The server plays the proxy: it gets the request for Amazon's host."""
    options = EngineOptions(proxy=WebProxy((("HTTP_PROXY", s3.url),)), first_retry_s=0.3)
    async with EngineHost(tmp_path, options) as host:
        store = s3.datastore(server=f"http://s3.{REGION}.amazonaws.com")
        await host.apply(images=(want_disk(host, store),))
        assert (await wait_fault(host)).code == "InsecureCredentials"
        await host.apply(config_items={"datastore.http.security.allowinsecureauth": "true"})
        pin = await wait_loaded(host)
        assert await asyncio.to_thread(Path(pin.path).read_bytes) == CONTENT
