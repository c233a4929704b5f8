"""The join token survives a terminal and says what is wrong with a bad paste."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves.wire.join import JoinToken, JoinTokenError, decode_join_token, encode_join_token

TOKEN = JoinToken("edge.example:8443", "ROOT", "CERT", "KEY")


@given(st.builds(JoinToken, st.text(), st.text(), st.text(), st.text()))
def test_a_token_carries_everything(token: JoinToken) -> None:
    assert decode_join_token(encode_join_token(token)) == token


def test_line_breaks_of_a_terminal_do_not_matter() -> None:
    text = encode_join_token(TOKEN)
    assert decode_join_token(f"  {text[:20]}\n  {text[20:]}\r\n") == TOKEN


def test_a_token_is_one_shell_word() -> None:
    assert set(encode_join_token(TOKEN)) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


@given(st.integers(0, len(encode_join_token(TOKEN)) - 1))
def test_a_cut_token_is_refused(length: int) -> None:
    with pytest.raises(JoinTokenError):
        decode_join_token(encode_join_token(TOKEN)[:length])


@given(st.text())
def test_junk_is_refused(text: str) -> None:
    with pytest.raises(JoinTokenError):
        decode_join_token("eaves-join-1." + text)


def test_the_key_is_not_printed() -> None:
    assert "KEY" not in repr(TOKEN)
