"""Images from real registries, good and bad."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest

from eaves.node.desired.model import DatastoreKind, DesiredDatastore, ImageFormat, Secret
from eaves.node.manager import EngineOptions
from eaves.node.observed import ImageState, ImageStatus
from eaves.testing.engine_host import EngineHost
from eaves.testing.fault_proxy import FaultProxy, Faults
from eaves.testing.registry import Registry

pytestmark = pytest.mark.contract

BIG_BYTES = 6 << 20


@pytest.fixture(scope="session")
def private_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry(tmp_path_factory.mktemp("private"), is_private=True) as found:
        found.push("shop/web:1", ("sleep", "1000"))
        yield found


@pytest.fixture(scope="session")
def big_image(registry: Registry) -> str:
    registry.push("shop/big:1", ("sleep", "1000"), padding_bytes=BIG_BYTES)
    return "shop/big:1"


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[EngineHost]:
    options = EngineOptions(first_retry_s=0.3, stalled_after_s=3.0)
    async with EngineHost(tmp_path, options) as found:
        yield found


async def wait_state(host: EngineHost, image_id: str, state: ImageState) -> ImageStatus:
    return await host.wait(ImageStatus, image_id, lambda status: status.state is state)


async def wait_fault(host: EngineHost, image_id: str) -> str:
    status = await host.wait(ImageStatus, image_id, lambda found: found.fault is not None)
    assert status.fault is not None
    assert status.state is ImageState.FAILED
    return status.fault.code


async def test_private_registry_with_its_own_ca(host: EngineHost, private_registry: Registry) -> None:
    datastore = private_registry.datastore()
    good = host.image(datastore, "shop/web:1")
    wrong_password = msgspec.structs.replace(datastore, password=Secret("wrong"))
    no_ca = msgspec.structs.replace(datastore, ca_pems=())
    images = (
        good,
        host.image(wrong_password, "shop/web:1", id="image-password"),
        host.image(no_ca, "shop/web:1", id="image-ca"),
    )
    await host.apply(images=images)
    status = await wait_state(host, good.id, ImageState.LOADED)
    assert status.digest == private_registry.digest("shop/web:1")
    assert status.progress_percent == 100
    assert await wait_fault(host, "image-password") == "AuthenticationFailed"
    assert await wait_fault(host, "image-ca") == "CertificateUntrusted"
    # The two others are tried again and again; only without them is nothing under way.
    await host.apply(images=(good,))
    await host.wait_gone(ImageStatus, "image-password")
    await host.wait_gone(ImageStatus, "image-ca")
    left = [path for path in host.instance.downloads_dir.glob("**/*") if "auth" in path.name or path.suffix == ".crt"]
    assert left == [], "credentials are on disk only during a call"


async def test_image_by_digest_and_a_wrong_digest(host: EngineHost, registry: Registry) -> None:
    digest = registry.digest("shop/web:1")
    images = (
        host.image(registry.datastore(), "shop/web:1", id="image-field", digest=digest),
        host.image(registry.datastore(), f"shop/web@{digest}", id="image-name"),
        host.image(registry.datastore(), "shop/web:1", id="image-unknown", digest="sha256:" + "0" * 64),
    )
    await host.apply(images=images)
    by_field, by_name = [await wait_state(host, f"image-{name}", ImageState.LOADED) for name in ("field", "name")]
    assert by_field.digest == by_name.digest == digest
    assert by_field.blobs == by_name.blobs
    assert await wait_fault(host, "image-unknown") == "ImageNotFound"


async def test_image_with_a_manifest_of_dockers_own_kind(host: EngineHost, registry: Registry) -> None:
    digest = await asyncio.to_thread(registry.push, "shop/docker:1", ("sleep", "1"), manifest="v2s2")
    image = host.image(registry.datastore(), "shop/docker:1")
    await host.apply(images=(image,))
    status = await wait_state(host, image.id, ImageState.LOADED)
    root, *parts = status.blobs
    assert (status.digest, root.digest) == (digest, digest)
    assert status.size_bytes == sum(part.size_bytes for part in parts) > 0


async def test_changed_bytes_are_refused(host: EngineHost, registry: Registry) -> None:
    async with FaultProxy(registry.server, Faults(is_corrupt=True)) as proxy:
        digest = registry.digest("shop/web:1")
        image = host.image(registry.datastore(proxy.server), "shop/web:1", digest=digest)
        await host.apply(images=(image,))
        assert await wait_fault(host, image.id) in ("DigestMismatch", "DownloadFailed")
        proxy.faults = Faults()
        await wait_state(host, image.id, ImageState.LOADED)


async def test_tag_is_resolved_once_and_again_for_a_new_generation(host: EngineHost, registry: Registry) -> None:
    first = registry.push("shop/moving:1", ("sleep", "1"))
    image = host.image(registry.datastore(), "shop/moving:1")
    await host.apply(images=(image,))
    await wait_state(host, image.id, ImageState.LOADED)
    second = registry.push("shop/moving:1", ("sleep", "2"))
    assert first != second
    await host.stop()
    await host.start()
    await host.apply()
    assert (await wait_state(host, image.id, ImageState.LOADED)).digest == first
    await host.apply(images=(msgspec.structs.replace(image, generation=1),))
    status = await host.wait(ImageStatus, image.id, lambda found: found.digest == second)
    assert status.fault is None


async def test_download_shows_progress_and_a_cut_one_goes_on(
    host: EngineHost, registry: Registry, big_image: str
) -> None:
    async with FaultProxy(registry.server, Faults(bytes_per_s=6 << 20, cut_after_bytes=BIG_BYTES // 2)) as proxy:
        image = host.image(registry.datastore(proxy.server), big_image)
        await host.apply(images=(image,))
        await host.wait(ImageStatus, image.id, lambda status: 0 < status.progress_percent < 100)
        await wait_state(host, image.id, ImageState.LOADED)


async def test_silent_registry_hangs_nobody(host: EngineHost, registry: Registry) -> None:
    async with FaultProxy(registry.server, Faults(is_silent=True)) as proxy:
        silent = [host.image(registry.datastore(proxy.server), "shop/web:1", id=f"image-{n}") for n in range(8)]
        good = host.image(registry.datastore(), "shop/shell:1")
        await host.apply(images=(*silent, good))
        await wait_state(host, good.id, ImageState.LOADED)
        assert await wait_fault(host, "image-0") == "RegistryUnreachable"


async def test_stalled_download_is_tried_again(host: EngineHost, registry: Registry, big_image: str) -> None:
    async with FaultProxy(registry.server, Faults(bytes_per_s=1 << 19)) as proxy:
        image = host.image(registry.datastore(proxy.server), big_image)
        await host.apply(images=(image,))
        # More than the image's description, so that silence comes in the middle of its layer and not between two requests.
        await host.wait(ImageStatus, image.id, lambda status: status.downloaded_bytes > 1 << 18)
        proxy.faults = Faults(is_silent=True)
        assert await wait_fault(host, image.id) == "DownloadStalled"
        proxy.faults = Faults()
        await wait_state(host, image.id, ImageState.LOADED)


async def test_datastores_are_tried_in_order(host: EngineHost, registry: Registry) -> None:
    nobody = DesiredDatastore("nobody", DatastoreKind.REGISTRY, "127.0.0.1:9", plain_http=True)
    image = host.image(registry.datastore(), "shop/web:1", datastores=(nobody, registry.datastore()))
    await host.apply(images=(image,))
    await wait_state(host, image.id, ImageState.LOADED)


async def test_what_cannot_be_is_told_at_once(host: EngineHost, registry: Registry) -> None:
    disk = host.image(registry.datastore(), "shop/web:1", id="image-disk", format=ImageFormat.QCOW2)
    big = host.image(registry.datastore(), "shop/web:1", id="image-big", max_size_bytes=1000)
    odd = host.image(registry.datastore(), "Not A Name", id="image-odd")
    await host.apply(images=(disk, big, odd))
    assert await wait_fault(host, "image-disk") == "ImageUnsupported"
    assert await wait_fault(host, "image-big") == "ImageTooLarge"
    assert await wait_fault(host, "image-odd") == "ImageUnsupported"


async def test_unused_images_are_removed(host: EngineHost, registry: Registry) -> None:
    image, other = host.image(registry.datastore(), "shop/web:1"), host.image(registry.datastore(), "shop/shell:1")
    await host.apply(images=(image, other))
    await wait_state(host, image.id, ImageState.LOADED)
    await wait_state(host, other.id, ImageState.LOADED)
    await host.apply(images=(other,))
    await host.wait_gone(ImageStatus, image.id)
    assert host.manager is not None
    async with asyncio.timeout(20):
        while True:
            # While an image is being removed podman may stumble over it.
            listed = await host.manager.podman.run("images", "--quiet", check=False)
            if listed.returncode == 0 and len(listed.text.split()) == 1:
                break
            await asyncio.sleep(0.1)


async def test_registry_that_was_down_is_asked_again(host: EngineHost, tmp_path: Path) -> None:
    with Registry(tmp_path / "late") as registry:
        registry.push("shop/web:1")
        registry.stop()
        image = host.image(registry.datastore(), "shop/web:1")
        await host.apply(images=(image,))
        assert await wait_fault(host, image.id) == "RegistryUnreachable"
        await asyncio.to_thread(registry.start)
        await wait_state(host, image.id, ImageState.LOADED)
