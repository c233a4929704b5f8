"""Keeps the images that the config asks for. Owned by ``manager``; asked by the apps' keepers and by volumes for what is here.

Each missing image is fetched by a task of its own with its own back-off, so a slow or broken datastore holds up nobody else.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Callable, Collection, Sequence

import msgspec
from msgspec import Struct

from eaves.kit import process
from eaves.kit.errors import EavesError
from eaves.kit.retry import Backoff
from eaves.node.containers.cli import PodmanCli
from eaves.node.desired.model import DesiredImage, DesiredNode, ImageFormat
from eaves.node.errors import as_fault
from eaves.node.images import plan
from eaves.node.images.blobs import Blobs
from eaves.node.images.bringing import Bringer
from eaves.node.images.containers import ContainerLoader
from eaves.node.images.disks import DiskImages
from eaves.node.images.errors import DownloadError
from eaves.node.images.meter import Meter
from eaves.node.images.model import Priority
from eaves.node.images.plan import ImagesState, Pin
from eaves.node.images.policy import DownloadPolicy
from eaves.node.images.slots import PreemptedError
from eaves.node.images.store import DiskStore, want_key
from eaves.node.images.uplinks import FindWays
from eaves.node.images.ways import Way
from eaves.node.instance import Instance
from eaves.node.observed import Fault, ImageBlob, ImageState, ImageStatus, Observations
from eaves.node.statefile import StateFile

log = logging.getLogger(__name__)

FIRST_RETRY_S = 2.0
CLEAN_EVERY_S = 600.0
_TROUBLE = (EavesError, OSError)


class _Fetch(Struct, frozen=True):
    image: DesiredImage
    priority: Priority
    task: asyncio.Task[None]


async def _host_way(_: DownloadPolicy) -> Sequence[Way]:
    return (Way(),)


class Images:
    """``disks_in_use`` tells paths of image files that volumes are backed by."""

    def __init__(
        self,
        instance: Instance,
        observations: Observations,
        cli: PodmanCli,
        *,
        policy: DownloadPolicy,
        on_change: Callable[[], None],
        disks_in_use: Callable[[], Collection[str]] = tuple,
        find_ways: FindWays = _host_way,
        first_retry_s: float = FIRST_RETRY_S,
    ) -> None:
        self._instance = instance
        self._observations = observations
        self._cli = cli
        self._on_change = on_change
        self._first_retry_s = first_retry_s
        self._policy = policy
        self._file = StateFile(instance.state_dir / "images.json", ImagesState)
        self._state = ImagesState()
        self._stored: set[str] = set()
        self._desired: dict[str, DesiredImage] = {}
        self._priorities: dict[str, Priority] = {}
        self._is_told = False
        self._tasks: dict[str, _Fetch] = {}
        self._wake = asyncio.Event()
        self._changed = asyncio.Event()
        """Set, and replaced, when what holds for downloads changed: what failed may work now."""
        store = DiskStore(instance.blobs_dir)
        blobs = Blobs(store)
        self._disks = DiskImages(blobs)
        self._disks_in_use = disks_in_use
        self._meter = Meter(instance.state_dir / "downloads.json")
        self._bringer = Bringer(
            self, instance.downloads_dir, blobs, self._disks, ContainerLoader(cli, store), self._meter, find_ways
        )

    async def open(self) -> None:
        self._state = await self._file.load()
        await self._meter.open()
        await self._bringer.open()
        await self._disks.open()
        await self._observe_stored()

    def set_desired(self, desired: DesiredNode) -> None:
        self._desired = {image.id: image for image in desired.images}
        self._priorities = dict(plan.want_priorities(desired))
        self._is_told = True
        # What is here already must count at once, or a cached image would cost its app a turn of the loop.
        for image in self._desired.values():
            if (pin := self._find(image)) is not None:
                self.publish(image, ImageState.LOADED, pin.digest, pin.size_bytes, pin.size_bytes)
        self._wake.set()

    def set_policy(self, policy: DownloadPolicy) -> None:
        """What holds for downloads from now on."""
        if policy == self._policy and self._meter.limits == policy.budget:
            return
        self._policy = policy
        self._meter.limits = policy.budget
        self.retry()

    def retry(self) -> None:
        """What failed may work now: try it again at once."""
        self._changed.set()
        self._changed = asyncio.Event()

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
                    async with asyncio.timeout(self._next_clean_s()):
                        await self._wake.wait()
                except TimeoutError:
                    await self._observe_stored()
        finally:
            await self._cancel(list(self._tasks))

    async def teardown(self) -> None:
        await self._cli.run("rmi", "--all", "--force", check=False)
        await self._file.remove()
        await self._meter.remove()

    # What the bringer of an image needs of us.

    @property
    def policy(self) -> DownloadPolicy:
        return self._policy

    def find_pin(self, image: DesiredImage) -> Pin | None:
        return plan.find_pin(image, self._state)

    def find_twin(self, digest: str) -> Pin | None:
        return plan.find_twin(digest, self._state, self._stored)

    async def remember(
        self,
        image: DesiredImage,
        digest: str,
        size_bytes: int,
        *,
        stored_as: str = "",
        blobs: Collection[str] = (),
        content: tuple[ImageBlob, ...] = (),
    ) -> None:
        """Write down what ``image`` stands for, and that podman has it as ``stored_as``. Raises OSError."""
        if stored_as:
            self._stored.add(stored_as)
        await self._save(plan.record_pin(self._state, image, digest, size_bytes, stored_as, blobs, content))

    def publish(
        self,
        image: DesiredImage,
        state: ImageState,
        digest: str = "",
        size_bytes: int = 0,
        done_bytes: int = 0,
        fault: Fault | None = None,
    ) -> None:
        pin = plan.find_pin(image, self._state)
        status = ImageStatus(
            image.id,
            image.name,
            state,
            digest,
            size_bytes,
            min(done_bytes, size_bytes),
            fault,
            image.generation,
            pin.content if pin is not None else (),
        )
        before = self._observations.get(ImageStatus, image.id)
        self._observations.publish(status)
        if not isinstance(before, ImageStatus) or _is_news(before, status):
            self._on_change()

    # The loop.

    def _next_clean_s(self) -> float:
        waits = [
            pin.unwanted_since + self._policy.defer_delete_s - time.time()
            for pin in self._state.pins.values()
            if pin.unwanted_since
        ]
        return min([CLEAN_EVERY_S, *(max(wait, 1.0) for wait in waits)])

    async def _reconcile(self) -> None:
        """Start a task for each image that is missing, end those that are no longer wanted, remove the unused."""
        stale = [
            image_id
            for image_id, fetch in self._tasks.items()
            if self._desired.get(image_id) != fetch.image
            or self._priorities.get(image_id) != fetch.priority
            or fetch.task.done()
        ]
        await self._cancel(stale)
        for status in list(self._observations.each(ImageStatus)):
            if status.id not in self._desired:
                self._observations.remove(ImageStatus, status.id)
        for image in self._desired.values():
            if self._find(image) is None and image.id not in self._tasks:
                priority = self._priorities.get(image.id, Priority.AHEAD)
                task = asyncio.create_task(self._keep_fetching(image, priority), name=f"image {image.name}")
                task.add_done_callback(lambda _: self._wake.set())
                self._tasks[image.id] = _Fetch(image, priority, task)
        try:
            await self._clean()
        except _TROUBLE as error:
            log.warning("unused images are not removed: error=%s", error)

    async def _cancel(self, image_ids: list[str]) -> None:
        tasks = [self._tasks.pop(image_id).task for image_id in image_ids]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _keep_fetching(self, image: DesiredImage, priority: Priority) -> None:
        limit_s = max(self._first_retry_s, self._policy.retry_limit_s)
        backoff = Backoff(self._first_retry_s, limit_s, jitter=0.1)
        since = time.time()
        while True:
            changed = self._changed
            try:
                await self._bringer.bring(image, priority)
            except PreemptedError:
                continue
            except _TROUBLE as error:
                is_final = isinstance(error, EavesError) and not error.retryable
                delay_s = limit_s if is_final else backoff.next_s()
                if isinstance(error, DownloadError):
                    delay_s = max(delay_s, error.retry_after_s)
                fault = as_fault(error, since=since, retry_at=0.0 if is_final else time.time() + delay_s)
                log.warning("image is not here: image=%s code=%s error=%s", image.name, fault.code, fault.message)
                self.publish(image, ImageState.FAILED, fault=fault)
                await _pause(delay_s, changed)
            else:
                return

    async def _save(self, state: ImagesState) -> None:
        self._state = state
        await self._file.save(state)

    async def _clean(self) -> None:
        if not self._is_told:
            # Before the first config everything looks unused.
            return
        wanted = plan.want_pins(
            self._desired.values(), self._state, now=time.time(), defer_s=self._policy.defer_delete_s
        )
        if wanted != self._state:
            await self._save(wanted)
        surplus = plan.plan_removal(self._state, self._stored, self._bringer.is_loading)
        for stored_as in surplus:
            done = await self._cli.run("rmi", stored_as, check=False)
            # In use by a container of an app that is being replaced or removed: the next round gets it.
            if done.returncode == 0:
                self._stored.discard(stored_as)
        if surplus or not self._tasks:
            await asyncio.to_thread(self._remove_downloads)
        keys = [
            want_key(pin.digest, pin.kind) for pin in self._state.pins.values() if pin.kind is not ImageFormat.CONTAINER
        ]
        missing = [image for image in self._desired.values() if self._find(image) is None]
        await self._disks.clean(keys, plan.want_blobs(missing, self._state), self._disks_in_use())

    def _remove_downloads(self) -> None:
        """What fetches left that are no longer wanted; the tools' own scratch only when none of them is at work."""
        scratch = self._instance.scratch_dir
        busy = {self._bringer.folder(fetch.image).name for fetch in self._tasks.values()}
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
            disk = self._disks.find(pin)
            return msgspec.structs.replace(pin, disk=disk) if disk is not None else None
        return pin if plan.is_loaded(pin, self._stored) else None


def _is_news(before: ImageStatus, status: ImageStatus) -> bool:
    """Whether those who wait for images look again: not for every packet."""
    former = (before.state, before.progress_percent, before.fault)
    return former != (status.state, status.progress_percent, status.fault)


async def _pause(delay_s: float, changed: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(delay_s):
            await changed.wait()
    except TimeoutError:
        return
