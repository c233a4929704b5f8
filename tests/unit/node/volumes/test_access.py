"""Never two writers at once, unless the volume is meant for it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves.node.desired.model import AppKind, DesiredApp, DesiredVolume, VolumeMount
from eaves.node.volumes.access import find_rival
from eaves.node.volumes.model import VolumeKey

KEY = VolumeKey("v", 0)
VOLUME = DesiredVolume("v", 0, "data", "", 1)


def app(name: str, *, activate: bool = True, read_only: bool = False, mounts: bool = True) -> DesiredApp:
    values: dict[str, Any] = {
        "id": f"id-{name}",
        "version": "1",
        "name": name,
        "namespace": "default",
        "kind": AppKind.CONTAINER,
        "activate": activate,
        "image_id": "i",
        "root_volume_id": "r",
        "root_generation": 0,
        "memory_bytes": 1,
        "cpu_millis": 0,
        "mounts": (VolumeMount("v", 0, "/data", read_only),) if mounts else (),
    }
    return DesiredApp(**values)


def rival(
    of: DesiredApp, *others: DesiredApp, running: tuple[str, ...] = (), held: tuple[str, ...] = (), **volume: Any
) -> str:
    wish = DesiredVolume("v", 0, "data", "", 1, **volume)
    return find_rival(
        of,
        wish,
        sorted((of, *others), key=lambda found: found.name),
        {f"id-{name}": {KEY} for name in running},
        {f"id-{name}": {KEY} for name in (*running, *held)},
    )


A, B = app("a"), app("b")


def test_the_first_of_the_config_gets_it() -> None:
    assert (rival(A, B), rival(B, A)) == ("", "a")


def test_who_runs_with_it_has_it() -> None:
    assert (rival(A, B, running=("b",)), rival(B, A, running=("b",))) == ("b", "")


def test_who_is_between_two_runs_keeps_it() -> None:
    assert (rival(A, B, held=("b",)), rival(B, A, held=("b",))) == ("b", "")


def test_who_is_stopped_for_good_gives_it_up() -> None:
    stopped = app("a", activate=False)
    assert rival(B, stopped, held=("a",)) == ""


def test_who_stopped_and_wants_it_back_waits_for_who_runs_now() -> None:
    assert rival(A, B, running=("b",), held=("a",)) == "b"


def test_an_app_that_the_config_no_longer_has_keeps_it_until_it_is_gone() -> None:
    assert rival(B, running=("a",)) == "id-a"


def test_readers_disturb_nobody() -> None:
    reader = app("a", read_only=True)
    assert (rival(B, reader, running=("a",)), rival(reader, B, running=("b",))) == ("", "")
    assert rival(B, app("a", mounts=False)) == ""


@pytest.mark.parametrize("volume", [{"is_shared": True}, {"read_only": True}])
def test_a_shared_volume_is_for_all(volume: dict[str, Any]) -> None:
    assert rival(B, A, running=("a",), **volume) == ""


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=30))
def test_there_is_never_a_second_writer_and_somebody_always_gets_it(steps: list[tuple[str, bool]]) -> None:
    active, running, held = dict.fromkeys("abc", True), set[str](), set[str]()
    for name, wanted in steps:
        active[name] = wanted
        apps = [app(each, activate=active[each]) for each in "abc"]
        running = {each for each in running if active[each]}
        for each in apps:
            # Keepers ask one after another, and who gets it counts as running before the next one asks.
            owners = [{f"id-{name}": {KEY} for name in found} for found in (running, running | held)]
            if each.activate and not find_rival(each, VOLUME, apps, *owners):
                running.add(each.name)
                held.add(each.name)
        assert len(running) <= 1
        assert running or not any(active.values())
