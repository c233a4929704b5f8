"""The notify channel's words: exact texts, bounds, and readers that outlive newer writers."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves.wire import notify
from eaves.wire.notify import LogsWanted, MalformedNotifyError, Notice


def test_a_notice_says_only_what_it_holds() -> None:
    assert notify.encode_notice(Notice(config="abc")) == '{"config":"abc"}'
    assert notify.encode_notice(Notice(certs="c")) == '{"certs":"c"}'
    assert notify.encode_notice(Notice(logs=LogsWanted("u", 60))) == '{"logs":{"app":"u","seconds":60}}'


def test_a_challenge_travels_as_base64_and_is_answered_with_a_purpose() -> None:
    challenge = bytes(range(32))
    text = notify.encode_challenge(challenge)
    assert text == '{"challenge":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}'
    assert notify.parse_challenge(text) == challenge
    assert notify.want_answer(challenge) == b"eaves-notify-v1\0" + challenge


def test_words_of_a_newer_writer_are_skipped() -> None:
    assert notify.parse_notice('{"config":"a","later":{"id":1},"logs":{"app":"x","seconds":5,"more":true}}') == Notice(
        config="a", logs=LogsWanted("x", 5)
    )


@pytest.mark.parametrize(("asked", "given_s"), [(-1, 0), (60, 60), (10**9, notify.LOGS_LIMIT_S)])
def test_a_wish_for_logs_is_bounded(asked: int, given_s: int) -> None:
    parsed = notify.parse_notice(json.dumps({"logs": {"app": "x", "seconds": asked}}))
    assert parsed.logs == LogsWanted("x", given_s)


@pytest.mark.parametrize("text", ["", "[]", "null", '{"config":1}', '{"logs":{"app":"x"}}', "x" * 5000, b"\xff\xfe"])
def test_what_cannot_be_read_is_refused(text: str | bytes) -> None:
    with pytest.raises(MalformedNotifyError):
        notify.parse_notice(text)


@pytest.mark.parametrize("text", ["{}", '{"challenge":"!!"}', '{"challenge":"AAAA"}', '{"challenge":"ä"}'])
def test_a_bad_challenge_is_refused(text: str) -> None:
    with pytest.raises(MalformedNotifyError):
        notify.parse_challenge(text)


@given(st.text() | st.binary())
def test_no_text_breaks_the_reader(text: str | bytes) -> None:
    try:
        notify.parse_notice(text)
    except MalformedNotifyError:
        return


@given(st.builds(Notice, config=st.none() | st.text(max_size=90), certs=st.none() | st.text(max_size=90)))
def test_what_is_written_is_read(notice: Notice) -> None:
    assert notify.parse_notice(notify.encode_notice(notice)) == notice
