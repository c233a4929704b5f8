"""Keeps the images that the config asks for. Owned by ``manager``; asked by the apps' keepers for what is loaded.

Each missing image is fetched by a task of its own with its own back-off, so a slow or broken registry holds up nobody else.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import msgspec

from eaves.kit import process
from eaves.kit.errors import EavesError
from eaves.kit.retry import Backoff
from eaves.node.containers.cli import PodmanCli
from eaves.node.desired.model import DesiredDatastore, DesiredImage, DesiredNode, ImageFormat
from eaves.node.errors import StorageFullError, as_fault
from eaves.node.images import plan, reference
from eaves.node.images.access import FetchOptions
from eaves.node.images.disks import DiskImages
from eaves.node.images.errors import ImageError, ImageTooLargeError
from eaves.node.images.plan import ImagesState, Pin
from eaves.node.images.skopeo import TAG, Skopeo
from eaves.node.images.store import want_key
from eaves.node.instance import Instance
from eaves.node.observed import Fault, ImageState, ImageStatus, Observations
from eaves.node.statefile import StateFile

log = logging.getLogger(__name__)

PARALLEL_FETCHES = 6
PARALLEL_PER_HOST = 3
FIRST_RETRY_S = 2.0
RETRY_LIMIT_S = 600.0
STALLED_AFTER_S = 600.0
CLEAN_EVERY_S = 600.0
_SPARE_BYTES = 64 << 20
"""Left free by downloads: a full disk stops everything, an image that waits stops one app."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_TROUBLE = (EavesError, OSError)


class Images:
    def __init__(
        self,
        instance: Instance,
        observations: Observations,
        cli: PodmanCli,
        *,
        proxies: Mapping[str, str],
        on_change: Callable[[], None],
        disks_in_use: Callable[[], Collection[str]] = tuple,
        first_retry_s: float = FIRST_RETRY_S,
        stalled_after_s: float = STALLED_AFTER_S,
    ) -> None:
        self._instance = instance
        self._observations = observations
        self._cli = cli
        self._on_change = on_change
        self._first_retry_s = first_retry_s
        self._retry_limit_s = RETRY_LIMIT_S
        environment = {**cli.environment, **proxies}
        self._skopeo = Skopeo(environment, cli.policy, stalled_after_s=stalled_after_s)
        self._file = StateFile(instance.state_dir / "images.json", ImagesState)
        self._state = ImagesState()
        self._stored: set[str] = set()
        self._desired: dict[str, DesiredImage] = {}
        self._is_told = False
        self._tasks: dict[str, tuple[DesiredImage, asyncio.Task[None]]] = {}
        self._slots = asyncio.Semaphore(PARALLEL_FETCHES)
        self._host_slots: defaultdict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(PARALLEL_PER_HOST)
        )
        self._surplus: list[str] = []
        """Unused images that could not be removed yet."""
        self._removal_retry = Backoff(first_retry_s, CLEAN_EVERY_S)
        self._wake = asyncio.Event()
        self._disks = DiskImages(instance.blobs_dir)
        self._disks_in_use = disks_in_use
        self._options = FetchOptions(proxies=proxies, stalled_after_s=stalled_after_s)

    async def open(self) -> None:
        self._state = await self._file.load()
        boot_id = await asyncio.to_thread(_BOOT_ID.read_text, encoding="ascii")
        self._options = msgspec.structs.replace(self._options, boot_id=boot_id.strip())
        await self._disks.open()
        await self._observe_stored()

    def set_desired(self, desired: DesiredNode) -> None:
        self._desired = {image.id: image for image in desired.images}
        self._is_told = True
        # What is here already must count at once, or a cached image would cost its app a turn of the loop.
        for image in self._desired.values():
            if (pin := self._find(image)) is not None:
                self._publish(image, ImageState.LOADED, pin.digest, pin.size_bytes, pin.size_bytes)
        self._wake.set()

    def loaded(self, image_id: str) -> Pin | None:
        """The image with what podman calls it or where its disks are; None while it is not here."""
        image = self._desired.get(image_id)
        return self._find(image) if image else None

    async def recheck(self) -> None:
        """Look at storage again: somebody may have removed an image."""
        await self._observe_stored()
        self._wake.set()

    async def run(self) -> None:
        try:
            while True:
                self._wake.clear()
                await self._reconcile()
                try:
                    async with asyncio.timeout(self._removal_retry.next_s() if self._surplus else CLEAN_EVERY_S):
                        await self._wake.wait()
                except TimeoutError:
                    await self._observe_stored()
        finally:
            await self._cancel(list(self._tasks))

    def set_limits(self, *, retry_limit_s: float, stalled_after_s: float) -> None:
        """How long pauses between attempts grow, and when a download that brings nothing counts as stalled."""
        self._retry_limit_s = retry_limit_s
        self._skopeo.stalled_after_s = stalled_after_s
        self._options = msgspec.structs.replace(self._options, stalled_after_s=stalled_after_s)

    async def teardown(self) -> None:
        await self._cli.run("rmi", "--all", "--force", check=False)
        await self._file.remove()

    async def _reconcile(self) -> None:
        """Start a task for each image that is missing, end those that are no longer wanted, remove the unused."""
        stale = [
            image_id
            for image_id, (image, task) in self._tasks.items()
            if self._desired.get(image_id) != image or task.done()
        ]
        await self._cancel(stale)
        for status in list(self._observations.each(ImageStatus)):
            if status.id not in self._desired:
                self._observations.remove(ImageStatus, status.id)
        for image in self._desired.values():
            if self._find(image) is None and image.id not in self._tasks:
                task = asyncio.create_task(self._keep_fetching(image), name=f"image {image.name}")
                task.add_done_callback(lambda _: self._wake.set())
                self._tasks[image.id] = (image, task)
        try:
            await self._clean()
        except _TROUBLE as error:
            log.warning("unused images are not removed: error=%s", error)

    async def _cancel(self, image_ids: list[str]) -> None:
        tasks = [self._tasks.pop(image_id)[1] for image_id in image_ids]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _keep_fetching(self, image: DesiredImage) -> None:
        backoff = Backoff(self._first_retry_s, max(self._first_retry_s, self._retry_limit_s), jitter=0.1)
        since = time.time()
        while True:
            try:
                await self._fetch(image)
            except _TROUBLE as error:
                is_final = isinstance(error, EavesError) and not error.retryable
                delay_s = self._retry_limit_s if is_final else backoff.next_s()
                fault = as_fault(error, since=since, retry_at=0.0 if is_final else time.time() + delay_s)
                log.warning("image is not here: image=%s code=%s error=%s", image.name, fault.code, fault.message)
                self._publish(image, ImageState.FAILED, fault=fault)
                self._on_change()
                await asyncio.sleep(delay_s)
            else:
                self._on_change()
                return

    async def _fetch(self, image: DesiredImage) -> None:
        """Try the datastores in order; the last one's error is told."""
        reference.check_image(image)
        failure: Exception = ImageError("no datastore answered", element=f"image {image.name}")
        for datastore in image.datastores:
            try:
                await self._fetch_from(image, datastore)
            except _TROUBLE as error:
                failure = error
            else:
                return
        raise failure

    async def _fetch_from(self, image: DesiredImage, datastore: DesiredDatastore) -> None:
        if image.format is not ImageFormat.CONTAINER:
            await self._fetch_disk(image, datastore)
            return
        pin = plan.find_pin(image, self._state)
        source = reference.want_source(image, datastore, pin.digest if pin else "")
        folder = self._instance.downloads_dir / _folder_name(image.id)
        self._publish(image, ImageState.WAITING)
        async with self._host_slots[source.host], self._slots:
            self._publish(image, ImageState.RESOLVING)
            top = await self._skopeo.resolve(source, folder)
            source = msgspec.structs.replace(source, digest=top.digest)
            await self._remember(plan.record_pin(self._state, image, top.digest, top.size_bytes))
            if twin := plan.find_twin(top.digest, self._state, self._stored):
                twin_size = next(pin.size_bytes for pin in self._state.pins.values() if pin.image == twin)
                await self._finish(image, top.digest, twin_size, twin)
                return
            manifest = top
            if top.child:
                source = msgspec.structs.replace(source, digest=top.child)
                manifest = await self._skopeo.resolve(source, folder)
            await self._load(image, source, top.digest, manifest.size_bytes, folder)

    async def _fetch_disk(self, image: DesiredImage, datastore: DesiredDatastore) -> None:
        self._publish(image, ImageState.WAITING)
        async with self._host_slots[datastore.server], self._slots:
            brought = await self._disks.bring(image, datastore, self._options, _Shown(self, image))
        size_bytes = brought.size_bytes or self._known_size(brought.digest)
        await self._remember(plan.record_pin(self._state, image, brought.digest, size_bytes))
        self._publish(image, ImageState.LOADED, brought.digest, size_bytes, size_bytes)

    def _known_size(self, digest: str) -> int:
        return max((pin.size_bytes for pin in self._state.pins.values() if pin.digest == digest), default=0)

    async def _load(
        self, image: DesiredImage, source: reference.Source, digest: str, size_bytes: int, folder: Path
    ) -> None:
        if image.max_size_bytes and size_bytes > image.max_size_bytes:
            message = f"the image has {size_bytes} bytes, at most {image.max_size_bytes} are allowed"
            raise ImageTooLargeError(message, element=f"image {image.name}", resolution="raise the allowed size")
        await asyncio.to_thread(self._check_space, size_bytes)

        def tell(downloaded: int) -> None:
            self._publish(image, ImageState.DOWNLOADING, digest, size_bytes, downloaded)
            self._on_change()

        tell(0)
        layout = await self._skopeo.fetch(source, folder, tell)
        self._publish(image, ImageState.VERIFYING, digest, size_bytes, size_bytes)
        # podman makes a name of the path that it is given, and not every path of a disk makes a name that it takes.
        target = f"oci:{layout.relative_to(folder.parent)}:{TAG}"
        options = ("--quiet", f"--signature-policy={self._cli.policy}")
        loaded = await self._cli.run("pull", *options, target, timeout_s=3600, cwd=str(folder.parent))
        stored_as = loaded.text.strip().splitlines()[-1].removeprefix("sha256:")
        await self._finish(image, digest, size_bytes, stored_as)
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _finish(self, image: DesiredImage, digest: str, size_bytes: int, stored_as: str) -> None:
        self._stored.add(stored_as)
        await self._remember(plan.record_pin(self._state, image, digest, size_bytes, stored_as))
        self._publish(image, ImageState.LOADED, digest, size_bytes, size_bytes)

    async def _remember(self, state: ImagesState) -> None:
        self._state = state
        await self._file.save(state)

    def _check_space(self, size_bytes: int) -> None:
        free = shutil.disk_usage(self._instance.data_dir).free
        # Compressed layers on disk, and about twice that unpacked.
        needed = 3 * size_bytes + _SPARE_BYTES
        if free < needed:
            raise StorageFullError(f"the image needs {needed >> 20} MiB, {free >> 20} MiB are free")

    async def _clean(self) -> None:
        if not self._is_told:
            # Before the first config everything looks unused.
            return
        wanted = plan.want_pins(self._desired.values(), self._state)
        if wanted != self._state:
            await self._remember(wanted)
        surplus = plan.plan_removal(self._state, self._stored, fetching=bool(self._tasks))
        self._surplus = []
        for stored_as in surplus:
            done = await self._cli.run("rmi", stored_as, check=False)
            if done.returncode == 0:
                self._stored.discard(stored_as)
            else:
                # Still in use by an app that is being replaced or removed, or podman stumbled over a command beside it.
                log.info(
                    "unused image is not removed yet: image=%s error=%s",
                    stored_as,
                    done.stderr.decode(errors="replace").strip(),
                )
                self._surplus.append(stored_as)
        if not self._surplus:
            self._removal_retry.reset()
        if surplus or not self._tasks:
            await asyncio.to_thread(self._remove_downloads)
        wanted_disks = [
            want_key(pin.digest, image)
            for image in self._desired.values()
            if image.format is not ImageFormat.CONTAINER and (pin := plan.find_pin(image, self._state)) is not None
        ]
        await self._disks.clean(wanted_disks, self._disks_in_use())

    def _remove_downloads(self) -> None:
        """What fetches left that are no longer wanted; the tools' own scratch only when none of them is at work."""
        scratch = self._instance.scratch_dir
        busy = {_folder_name(image_id) for image_id in self._tasks}
        for path in self._instance.downloads_dir.iterdir():
            if path != scratch and path.name not in busy:
                shutil.rmtree(path, ignore_errors=True)
        if not self._tasks:
            for path in scratch.iterdir():
                shutil.rmtree(path, ignore_errors=True)

    async def _observe_stored(self) -> None:
        try:
            listed = await self._cli.run("images", "--all", "--quiet", "--no-trunc")
        except process.ProcessError as error:
            log.warning("stored images are not known: error=%s", error)
            return
        self._stored = {line.removeprefix("sha256:") for line in listed.text.split()}

    def _find(self, image: DesiredImage) -> Pin | None:
        pin = plan.find_pin(image, self._state)
        if pin is not None and image.format is not ImageFormat.CONTAINER:
            disk = self._disks.find(image, pin)
            return msgspec.structs.replace(pin, disk=disk) if disk is not None else None
        return pin if plan.is_loaded(pin, self._stored) else None

    def show_progress(self, image: DesiredImage, state: ImageState, digest: str, size_bytes: int, have: int) -> None:
        self._publish(image, state, digest, size_bytes, have)
        self._on_change()

    def _publish(
        self,
        image: DesiredImage,
        state: ImageState,
        digest: str = "",
        size_bytes: int = 0,
        downloaded_bytes: int = 0,
        fault: Fault | None = None,
    ) -> None:
        status = ImageStatus(image.id, image.name, state, digest, size_bytes, min(downloaded_bytes, size_bytes), fault)
        self._observations.publish(status)


class _Shown:
    """One image's progress, published."""

    def __init__(self, images: Images, image: DesiredImage) -> None:
        self._images = images
        self._image = image

    def downloading(self, digest: str, size_bytes: int, have_bytes: int, received_bytes: int) -> None:
        self._images.show_progress(self._image, ImageState.DOWNLOADING, digest, size_bytes, have_bytes)

    def converting(self, digest: str, size_bytes: int, percent: int) -> None:
        self._images.show_progress(self._image, ImageState.CONVERTING, digest, size_bytes, size_bytes * percent // 100)


def _folder_name(image_id: str) -> str:
    """Of its download; names of images have no capitals."""
    return image_id.lower()
