"""A volume is deleted only when nobody has wanted it for the whole grace period and nothing has it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eaves.node.volumes.garbage import GarbagePlan, parse_grace_s, parse_users, plan_garbage
from eaves.node.volumes.model import VolumeKey

A, B = VolumeKey("a", 0), VolumeKey("b", 0)


def plan(
    *present: VolumeKey,
    wanted: tuple[VolumeKey, ...] = (),
    in_use: tuple[VolumeKey, ...] = (),
    since: dict[str, float] | None = None,
    now: float = 100,
    grace_s: float = 60,
) -> GarbagePlan:
    return plan_garbage(present, wanted=wanted, in_use=in_use, unwanted_since=since or {}, now=now, grace_s=grace_s)


def test_unwanted_volume_goes_after_the_grace_period() -> None:
    first = plan(A)
    assert (first.delete, first.next_in_s) == ((), 60)
    later = plan(A, since=first.unwanted_since, now=159)
    assert (later.delete, later.next_in_s) == ((), 1)
    assert plan(A, since=later.unwanted_since, now=160).delete == (A,)


def test_wanting_it_again_starts_the_period_anew() -> None:
    again = plan(A, wanted=(A,), since={"a#0": 100}, now=150)
    assert again.unwanted_since == {}
    assert plan(A, since=again.unwanted_since, now=170).delete == ()


def test_volume_that_an_app_has_stays() -> None:
    found = plan(A, in_use=(A,), since={"a#0": 0}, now=1000)
    assert found.delete == ()
    assert found.next_in_s > 0


def test_another_generation_is_another_volume() -> None:
    found = plan(VolumeKey("a", 1), wanted=(VolumeKey("a", 2),), since={"a#1": 0}, now=99, grace_s=9)
    assert found.delete == (VolumeKey("a", 1),)


def test_a_clock_that_went_back_only_delays() -> None:
    found = plan(A, since={"a#0": 5000}, now=100)
    assert (found.delete, found.unwanted_since) == ((), {"a#0": 100})


def test_volumes_of_apps_are_told_by_the_last_part_of_their_paths() -> None:
    assert parse_users(["a#0", "b#0.qcow2", "a#1.raw", "resolv.conf"]) == {A, B, VolumeKey("a", 1)}


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
def test_nothing_that_is_wanted_or_in_use_is_ever_deleted(
    rounds: list[tuple[set[str], set[str], int]], grace_s: float
) -> None:
    since, present, now = dict[str, float](), set[VolumeKey](), 1000.0
    unwanted_for = dict[VolumeKey, float]()
    for names, used, step_s in rounds:
        now += step_s
        wanted = {VolumeKey(name, 0) for name in names}
        found = plan_garbage(
            present,
            wanted=wanted,
            in_use={VolumeKey(name, 0) for name in used},
            unwanted_since=since,
            now=now,
            grace_s=grace_s,
        )
        for key in present - wanted:
            unwanted_for[key] = min(unwanted_for.get(key, now), now)
        for key in found.delete:
            assert key not in wanted
            assert key.id not in used
            assert now - unwanted_for[key] >= grace_s
            present.discard(key)
        present |= wanted
        unwanted_for = {key: at for key, at in unwanted_for.items() if key in present - wanted}
        since = found.unwanted_since
