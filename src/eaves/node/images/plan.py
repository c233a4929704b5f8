"""Which images are here, which to fetch, which to drop: pure functions over wish, pins and storage."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec import Struct

from eaves.node.desired.model import DesiredImage
from eaves.node.images.model import DiskImage


class Pin(Struct, frozen=True, omit_defaults=True):
    """What a content tree's name stood for when it was resolved; kept until its generation or name changes.

    ``digest``: of what the name stood for: manifest, index or blob. ``image``: podman's id of a container image once it is loaded,
    else empty. ``disk``: the files of a disk image; filled in by :meth:`.service.Images.loaded` and never saved.
    """

    generation: int
    reference: str
    digest: str
    size_bytes: int = 0
    image: str = ""
    disk: DiskImage | None = None

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
    if pin is None or (pin.generation, pin.reference) != (image.generation, image.reference):
        return None
    # An index's digest may be asked for while the pin has it; a digest that was not resolved by us never matches.
    return pin if image.digest in ("", pin.digest) else None


def is_loaded(pin: Pin | None, stored: Iterable[str]) -> bool:
    return pin is not None and bool(pin.image) and pin.image in stored


def want_pins(images: Iterable[DesiredImage], state: ImagesState) -> ImagesState:
    """The pins without those of content trees that are no longer in the config."""
    wanted = {image.id for image in images}
    return ImagesState({image_id: pin for image_id, pin in state.pins.items() if image_id in wanted})


def find_twin(digest: str, state: ImagesState, stored: Iterable[str]) -> str:
    """podman's id of an image that is loaded under another content tree with the same digest; empty = none."""
    stored = set(stored)
    return next(
        (pin.image for pin in state.pins.values() if pin.digest == digest and pin.image and pin.image in stored), ""
    )


def plan_removal(state: ImagesState, stored: Iterable[str], fetching: bool) -> list[str]:
    """Images in storage that no pin names. Nothing goes while something is being loaded: it has no pin yet."""
    if fetching:
        return []
    pinned = {pin.image for pin in state.pins.values()}
    return sorted(image for image in stored if image not in pinned)


def record_pin(
    state: ImagesState, image: DesiredImage, digest: str, size_bytes: int, stored_as: str = ""
) -> ImagesState:
    pin = Pin(image.generation, image.reference, digest, size_bytes, stored_as)
    return msgspec.structs.replace(state, pins={**state.pins, image.id: pin})
