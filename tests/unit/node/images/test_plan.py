"""Pins: what a name stood for stays, until the config says otherwise."""

from __future__ import annotations

import msgspec

from eaves.node.desired.model import (
    AppKind,
    DatastoreKind,
    DesiredApp,
    DesiredDatastore,
    DesiredImage,
    DesiredNode,
    DesiredVolume,
    ImageFormat,
    VolumeMount,
)
from eaves.node.images.model import Priority
from eaves.node.images.plan import (
    ImagesState,
    Pin,
    find_pin,
    find_twin,
    is_loaded,
    plan_removal,
    record_pin,
    want_blobs,
    want_pins,
    want_priorities,
)
from eaves.node.observed import ImageBlob

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
    assert find_twin(DIGEST, state, ["img"]) == state.pins["i1"]
    assert find_twin(DIGEST, state, []) is None
    assert find_twin("sha256:other", state, ["img"]) is None


def test_unpinned_images_go_but_never_during_a_fetch() -> None:
    state = record_pin(ImagesState(), IMAGE, DIGEST, 10, "img")
    assert plan_removal(state, {"img", "old"}, loading=False) == ["old"]
    assert plan_removal(state, {"img", "old"}, loading=True) == []
    assert want_pins([], state, now=100.0, defer_s=0.0).pins == {}
    assert want_pins([IMAGE], state, now=100.0, defer_s=0.0) == state


def test_removal_may_be_put_off_and_is_called_off() -> None:
    state = record_pin(ImagesState(), IMAGE, DIGEST, 10, "img")
    waiting = want_pins([], state, now=100.0, defer_s=60.0)
    assert waiting.pins["i1"].unwanted_since == 100.0
    assert want_pins([], waiting, now=130.0, defer_s=60.0) == waiting
    assert want_pins([], waiting, now=50.0, defer_s=60.0).pins["i1"].unwanted_since == 50.0
    assert want_pins([IMAGE], waiting, now=130.0, defer_s=60.0) == state
    assert want_pins([], waiting, now=160.0, defer_s=60.0).pins == {}


def test_blobs_of_what_is_not_here_are_kept() -> None:
    disk = msgspec.structs.replace(IMAGE, id="d1", format=ImageFormat.QCOW2, digest=DIGEST)
    state = record_pin(ImagesState(), IMAGE, "sha256:m", 10, blobs=["sha256:b1", "sha256:b2"])
    assert want_blobs([IMAGE, disk], state) == {DIGEST, "sha256:b1", "sha256:b2"}
    assert want_blobs([], record_pin(state, IMAGE, "sha256:m", 10, "img")) == set()


def test_what_an_image_consists_of_is_kept_as_long_as_it_is_the_same() -> None:
    content = (ImageBlob("sha256:m", 5), ImageBlob("sha256:b1", 10))
    state = record_pin(ImagesState(), IMAGE, "sha256:m", 10, blobs=["sha256:b1"], content=content)
    state = record_pin(state, IMAGE, "sha256:m", 10, "img")
    assert state.pins["i1"].content == content
    assert msgspec.json.decode(msgspec.json.encode(state), type=ImagesState) == state
    assert record_pin(state, IMAGE, "sha256:n", 10).pins["i1"].content == ()


def test_apps_that_run_come_before_volumes_and_those_before_what_is_fetched_ahead() -> None:
    images = tuple(msgspec.structs.replace(IMAGE, id=name) for name in ("run", "disk", "stopped", "volume", "ahead"))
    volumes = (
        DesiredVolume("v1", 0, "v1", "disk", 0),
        DesiredVolume("v2", 0, "v2", "volume", 0),
        DesiredVolume("v3", 0, "v3", "run", 0),
    )
    desired = DesiredNode(
        "n",
        "1",
        "",
        images=images,
        volumes=volumes,
        apps=(
            want_app("a1", "run", mounts=(VolumeMount("v1", 0, "/d"), VolumeMount("gone", 0, "/e"))),
            want_app("a2", "stopped", activate=False),
            want_app("a3", "not an image"),
        ),
    )
    assert want_priorities(desired) == {
        "run": Priority.RUNNING_APP,
        "disk": Priority.RUNNING_APP,
        "stopped": Priority.VOLUME,
        "volume": Priority.VOLUME,
        "ahead": Priority.AHEAD,
    }


def want_app(app_id: str, image_id: str, **changes: object) -> DesiredApp:
    values = {"activate": True, "image_id": image_id} | changes
    return DesiredApp(
        id=app_id,
        version="1",
        name=app_id,
        namespace="",
        kind=AppKind.CONTAINER,
        root_volume_id="",
        root_generation=0,
        memory_bytes=0,
        cpu_millis=0,
        **values,  # type: ignore[arg-type]
    )
