"""Which images are here, which to fetch, which to drop: pure functions over wish, pins and storage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from msgspec import Struct

from eaves.node.desired.model import DesiredImage, DesiredNode, ImageFormat
from eaves.node.images.model import DiskImage, Priority
from eaves.node.observed import ImageBlob


class Pin(Struct, frozen=True, omit_defaults=True):
    """What a content tree's name stood for when it was resolved; kept until its generation or name changes.

    ``digest``: of what the name stood for: manifest, index or blob. ``image``: podman's id of a container image once it is loaded,
    else empty. ``blobs``: digests that are still to be fetched or used; their partial files are kept. ``disk``: the files of a disk
    image; filled in by :meth:`.service.Images.loaded` and never saved. ``content``: all blobs that it consists of, to be told.
    """

    generation: int
    reference: str
    digest: str
    size_bytes: int = 0
    image: str = ""
    kind: ImageFormat = ImageFormat.CONTAINER
    blobs: tuple[str, ...] = ()
    unwanted_since: float = 0.0
    """Unix seconds since when no config asks for it; 0 = one does."""
    disk: DiskImage | None = None
    content: tuple[ImageBlob, ...] = ()

    @property
    def path(self) -> str:
        """Absolute path of the root disk; empty for a container image."""
        return self.disk.root.path if self.disk is not None and self.disk.root is not None else ""

    @property
    def format(self) -> str:
        """``raw`` or ``qcow2``: what the root disk's file is, whatever the image was when it was downloaded."""
        return self.disk.root.format if self.disk is not None and self.disk.root is not None else ""

    @property
    def virtual_size_bytes(self) -> int:
        """Size of the root disk as a guest sees it; a volume made from it is at least as big."""
        return self.disk.root.virtual_size_bytes if self.disk is not None and self.disk.root is not None else 0


class ImagesState(Struct):
    """Content tree id → pin."""

    pins: dict[str, Pin] = {}


def find_pin(image: DesiredImage, state: ImagesState) -> Pin | None:
    """The pin that still holds for ``image``."""
    pin = state.pins.get(image.id)
    if pin is None or (pin.generation, pin.reference, pin.kind) != (image.generation, image.reference, image.format):
        return None
    # An index's digest may be asked for while the pin has it; a digest that was not resolved by us never matches.
    return pin if image.digest in ("", pin.digest) else None


def is_loaded(pin: Pin | None, stored: Iterable[str]) -> bool:
    return pin is not None and bool(pin.image) and pin.image in stored


def want_pins(images: Iterable[DesiredImage], state: ImagesState, *, now: float, defer_s: float) -> ImagesState:
    """The pins without those of content trees that are no longer in the config, and have not been for ``defer_s``."""
    wanted = {image.id for image in images}
    pins: dict[str, Pin] = {}
    for image_id, pin in state.pins.items():
        if image_id in wanted:
            pins[image_id] = msgspec.structs.replace(pin, unwanted_since=0.0)
            continue
        # A clock that went back only makes it later.
        since = min(pin.unwanted_since or now, now)
        if now - since < defer_s:
            pins[image_id] = msgspec.structs.replace(pin, unwanted_since=since)
    return ImagesState(pins)


def want_priorities(desired: DesiredNode) -> Mapping[str, Priority]:
    """Of each image, by who needs it."""
    sources = {volume.id: volume.image_id for volume in desired.volumes}
    found = {image.id: Priority.AHEAD for image in desired.images}

    def note(image_id: str, priority: Priority) -> None:
        if image_id in found:
            found[image_id] = min(found[image_id], priority)

    for image_id in sources.values():
        note(image_id, Priority.VOLUME)
    if desired.cluster is not None:
        for image_id in desired.cluster.image_ids:
            note(image_id, Priority.RUNNING_APP)
    for app in desired.apps:
        priority = Priority.RUNNING_APP if app.activate else Priority.VOLUME
        volume_ids = (app.root_volume_id, *(mount.volume_id for mount in app.mounts))
        for image_id in (app.image_id, *(sources.get(volume_id, "") for volume_id in volume_ids)):
            note(image_id, priority)
    return found


def find_twin(digest: str, state: ImagesState, stored: Iterable[str]) -> Pin | None:
    """The pin of a container image that is loaded under another content tree with the same digest."""
    stored = set(stored)
    return next((pin for pin in state.pins.values() if pin.digest == digest and is_loaded(pin, stored)), None)


def plan_removal(state: ImagesState, stored: Iterable[str], loading: bool) -> list[str]:
    """Images in podman's storage that no pin names. Nothing goes while something is being loaded: it has no pin yet."""
    if loading:
        return []
    pinned = {pin.image for pin in state.pins.values()}
    return sorted(image for image in stored if image not in pinned)


def want_blobs(images: Iterable[DesiredImage], state: ImagesState) -> set[str]:
    """Digests whose whole or partial blobs are kept for images that are not here yet."""
    kept = {image.digest for image in images if image.format is not ImageFormat.CONTAINER and image.digest}
    for pin in state.pins.values():
        kept.update(pin.blobs)
    return kept


def record_pin(
    state: ImagesState,
    image: DesiredImage,
    digest: str,
    size_bytes: int,
    stored_as: str = "",
    blobs: Iterable[str] = (),
    content: tuple[ImageBlob, ...] = (),
) -> ImagesState:
    """``content`` empty: what was known of the same digest."""
    former = state.pins.get(image.id)
    if not content and former is not None and former.digest == digest:
        content = former.content
    pin = Pin(
        image.generation,
        image.reference,
        digest,
        size_bytes,
        stored_as,
        image.format,
        tuple(blobs),
        content=content,
    )
    return msgspec.structs.replace(state, pins={**state.pins, image.id: pin})
