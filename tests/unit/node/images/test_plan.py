"""Pins: what a name stood for stays, until the config says otherwise."""

from __future__ import annotations

import msgspec

from eaves.node.desired.model import DatastoreKind, DesiredDatastore, DesiredImage, ImageFormat
from eaves.node.images.plan import ImagesState, Pin, find_pin, find_twin, is_loaded, plan_removal, record_pin, want_pins

STORE = DesiredDatastore("store", DatastoreKind.REGISTRY, "registry.example")
IMAGE = DesiredImage("i1", "web", "shop/web:1", ImageFormat.CONTAINER, "", 0, 0, (STORE,))
DIGEST = "sha256:" + "a" * 64


def test_pin_holds_until_generation_reference_or_digest_change() -> None:
    state = record_pin(ImagesState(), IMAGE, DIGEST, 10, "img")
    assert find_pin(IMAGE, state) == Pin(0, "shop/web:1", DIGEST, 10, "img")
    assert find_pin(msgspec.structs.replace(IMAGE, digest=DIGEST), state) is not None
    assert find_pin(msgspec.structs.replace(IMAGE, generation=1), state) is None
    assert find_pin(msgspec.structs.replace(IMAGE, reference="shop/web:2"), state) is None
    assert find_pin(msgspec.structs.replace(IMAGE, digest="sha256:" + "b" * 64), state) is None
    assert find_pin(msgspec.structs.replace(IMAGE, id="i2"), state) is None


def test_loaded_means_that_storage_has_it() -> None:
    pin = Pin(0, "x", DIGEST, 1, "img")
    assert is_loaded(pin, {"img"})
    assert not is_loaded(pin, {"other"})
    assert not is_loaded(Pin(0, "x", DIGEST), {""})
    assert not is_loaded(None, {"img"})


def test_same_digest_under_another_name_is_not_fetched_again() -> None:
    state = record_pin(ImagesState(), IMAGE, DIGEST, 10, "img")
    assert find_twin(DIGEST, state, ["img"]) == "img"
    assert find_twin(DIGEST, state, []) == ""
    assert find_twin("sha256:other", state, ["img"]) == ""


def test_unpinned_images_go_but_never_during_a_fetch() -> None:
    state = record_pin(ImagesState(), IMAGE, DIGEST, 10, "img")
    assert plan_removal(state, {"img", "old"}, fetching=False) == ["old"]
    assert plan_removal(state, {"img", "old"}, fetching=True) == []
    assert want_pins([], state).pins == {}
    assert want_pins([IMAGE], state) == state
