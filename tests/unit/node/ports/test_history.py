"""Which config of the ports is tried, which one is in force."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from eaves.node.ports.history import (
    HOST,
    RETRY_AFTER_S,
    History,
    Step,
    begin_trial,
    end_trial,
    next_step,
    retry_at,
    take_sections,
)


def tried(history: History, sections: bytes, now: float, error: str = "", note: str = "") -> History:
    taken = take_sections(history, sections, now)
    return end_trial(begin_trial(taken, "/checkpoint"), now, error, note)


def keys(history: History) -> list[bytes]:
    return [record.sections for record in history.records]


def test_a_node_starts_with_what_its_host_has() -> None:
    history = History()
    assert (history.used, history.index, next_step(history, 0)) == (HOST, 0, Step.HOLD)


def test_a_new_config_is_tried_at_once() -> None:
    history = take_sections(History(), b"one", 10)
    assert next_step(history, 10) is Step.TRY
    assert (history.records[0].key, history.records[0].made_at, history.index) == ("controller", 10, 1)


def test_the_same_config_again_is_no_news() -> None:
    history = tried(History(), b"one", 10)
    assert take_sections(history, b"one", 20) is history
    assert next_step(history, 20) is Step.HOLD


def test_a_config_that_works_comes_into_force() -> None:
    history = tried(History(), b"one", 10, note="lte: no modem")
    assert (history.index, history.trial, history.checkpoint) == (0, "", "")
    assert (history.records[0].last_succeeded, history.records[0].last_error) == (10, "lte: no modem")


def test_a_config_that_fails_leaves_the_former_one_in_force_with_the_reason() -> None:
    history = tried(tried(History(), b"one", 10), b"two", 20, "no answer")
    assert keys(history) == [b"two", b"one", b""]
    assert (history.index, history.records[0].last_failed, history.records[0].last_error) == (1, 20, "no answer")


def test_a_failed_config_is_tried_again_later() -> None:
    history = tried(History(), b"one", 10, "no answer")
    assert retry_at(history) == 10 + RETRY_AFTER_S
    assert next_step(history, 10 + RETRY_AFTER_S - 1) is Step.HOLD
    assert next_step(history, 10 + RETRY_AFTER_S) is Step.TRY


def test_a_failure_by_a_clock_that_was_months_ahead_is_not_waited_for() -> None:
    history = tried(History(), b"one", 1e9, "no answer")
    assert next_step(history, 1000) is Step.TRY
    again = tried(history, b"one", 1000, "no answer")
    assert next_step(again, 1000) is Step.HOLD


def test_a_failed_config_that_comes_anew_is_tried_at_once() -> None:
    history = tried(tried(History(), b"one", 10, "no answer"), b"two", 20)
    history = take_sections(history, b"one", 30)
    assert next_step(history, 30) is Step.TRY


def test_going_back_to_an_earlier_config_needs_its_trial_too() -> None:
    history = tried(tried(History(), b"one", 10), b"two", 20)
    history = take_sections(history, b"one", 30)
    assert (keys(history)[0], next_step(history, 30), history.index) == (b"one", Step.TRY, 1)
    assert end_trial(begin_trial(history, "/c"), 31).index == 0


def test_a_newer_config_than_the_failed_one_replaces_it() -> None:
    history = tried(tried(tried(History(), b"one", 10), b"two", 20, "bad"), b"three", 30, "bad")
    assert keys(history) == [b"three", b"one", b""]


def test_no_config_at_all_gives_the_ports_back_to_the_host() -> None:
    history = take_sections(tried(History(), b"one", 10), b"", 20)
    assert (keys(history), history.used, next_step(history, 20)) == ([b""], HOST, Step.HOLD)


def test_a_trial_is_remembered_over_the_daemons_death() -> None:
    history = begin_trial(take_sections(History(), b"one", 10), "/checkpoint/3")
    again = msgspec.json.decode(msgspec.json.encode(history), type=History)
    assert again == history
    assert (again.trial, again.checkpoint) == (history.records[0].id, "/checkpoint/3")


@given(st.lists(st.tuples(st.sampled_from([b"", b"a", b"b", b"c"]), st.booleans(), st.booleans()), max_size=30))
def test_whatever_comes_the_record_in_force_exists_and_the_list_stays_short(
    steps: list[tuple[bytes, bool, bool]],
) -> None:
    history, now = History(), 1.0
    for sections, works, is_tried in steps:
        now += 1
        history = take_sections(history, sections, now)
        if is_tried and next_step(history, now) is Step.TRY:
            history = end_trial(begin_trial(history, "/c"), now, "" if works else "bad")
        found = history.find(history.used)
        assert found is not None
        assert found.works
        assert history.records[0].sections == sections
        assert len(history.records) <= 4
        assert sum(record.key == HOST for record in history.records) == 1
