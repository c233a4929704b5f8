"""A volume is deleted only when nobody has wanted it for the whole grace period and nothing mounts it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eaves.node.desired.model import DesiredVolume
from eaves.node.volumes.plan import (
    VolumeKey,
    VolumesState,
    parse_folder,
    parse_grace_s,
    plan_volumes,
)


def volume(volume_id: str, generation: int = 0) -> DesiredVolume:
    return DesiredVolume(volume_id, generation, volume_id, "", 0)


def wanted(*keys: VolumeKey) -> dict[VolumeKey, DesiredVolume]:
    return {key: volume(key.id, key.generation) for key in keys}


def test_missing_volumes_are_made_and_present_ones_kept() -> None:
    plan = plan_volumes(wanted(VolumeKey("a", 0), VolumeKey("b", 1)), ["a#0"], [], VolumesState(), now=100, grace_s=0)
    assert [made.id for made in plan.make] == ["b"]
    assert plan.delete == ()


def test_unwanted_volume_goes_after_the_grace_period() -> None:
    first = plan_volumes({}, ["a#0"], [], VolumesState(), now=100, grace_s=60)
    assert (first.delete, first.next_in_s) == ((), 60)
    later = plan_volumes({}, ["a#0"], [], first.state, now=159, grace_s=60)
    assert (later.delete, later.next_in_s) == ((), 1)
    last = plan_volumes({}, ["a#0"], [], later.state, now=160, grace_s=60)
    assert last.delete == (VolumeKey("a", 0),)


def test_wanting_it_again_starts_the_period_anew() -> None:
    first = plan_volumes({}, ["a#0"], [], VolumesState(), now=100, grace_s=60)
    again = plan_volumes(wanted(VolumeKey("a", 0)), ["a#0"], [], first.state, now=150, grace_s=60)
    assert again.state.unwanted_since == {}
    last = plan_volumes({}, ["a#0"], [], again.state, now=170, grace_s=60)
    assert last.delete == ()


def test_mounted_volume_stays() -> None:
    plan = plan_volumes({}, ["a#0"], ["a#0"], VolumesState({"a#0": 0}), now=1000, grace_s=60)
    assert plan.delete == ()
    assert plan.next_in_s > 0


def test_new_generation_is_another_volume() -> None:
    plan = plan_volumes(wanted(VolumeKey("a", 2)), ["a#1"], [], VolumesState({"a#1": 0}), now=99, grace_s=9)
    assert [(made.id, made.generation) for made in plan.make] == [("a", 2)]
    assert plan.delete == (VolumeKey("a", 1),)


@pytest.mark.parametrize("name", ["lost+found", ".deleting-a#0", "a", "a#", "a#x", "../a#0", "a#0#1"])
def test_other_folders_are_left_alone(name: str) -> None:
    assert parse_folder(name) is None
    plan = plan_volumes({}, [name], [], VolumesState({name: 0}), now=1e9, grace_s=0)
    assert plan.delete == ()


@pytest.mark.parametrize(("text", "seconds"), [("", 3600), ("60", 60), ("0", 0), ("-1", 3600), ("x", 3600)])
def test_grace_period_comes_from_the_config(text: str, seconds: float) -> None:
    assert parse_grace_s({"timer.gc.vdisk": text}) == seconds


@settings(max_examples=500)
@given(
    rounds=st.lists(
        st.tuples(st.sets(st.sampled_from("abc")), st.sets(st.sampled_from("abc")), st.integers(-50, 100)), max_size=12
    ),
    grace_s=st.sampled_from([0, 30, 120]),
)
def test_nothing_that_is_wanted_or_mounted_is_ever_deleted(
    rounds: list[tuple[set[str], set[str], int]], grace_s: float
) -> None:
    state, present, now = VolumesState(), set[str](), 1000.0
    unwanted_for = dict[str, float]()
    for names, mounted, step_s in rounds:
        now += step_s
        keys = [VolumeKey(name, 0) for name in sorted(names)]
        plan = plan_volumes(wanted(*keys), present, [f"{name}#0" for name in mounted], state, now=now, grace_s=grace_s)
        for folder in present - {key.folder for key in keys}:
            unwanted_for[folder] = min(unwanted_for.get(folder, now), now)
        for key in plan.delete:
            assert key not in keys
            assert key.id not in mounted
            assert now - unwanted_for[key.folder] >= grace_s
            present.discard(key.folder)
        present |= {f"{made.id}#0" for made in plan.make}
        assert {key.folder for key in keys} <= present
        for folder in list(unwanted_for):
            if folder in {key.folder for key in keys} or folder not in present:
                del unwanted_for[folder]
        state = plan.state
