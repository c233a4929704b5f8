"""HTTP/1.1 as bytes: heads, the ends of bodies, and what could be read in two ways."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves.wire import http1
from eaves.wire.http1 import (
    ChunkedBody,
    EndlessBody,
    HttpError,
    LengthBody,
    RequestHead,
    ResponseHead,
)


def test_a_request_is_read_and_written() -> None:
    raw = b"POST /api/v1/x?y=%2F HTTP/1.1\r\nHost: a\r\nAccept:  application/json \r\nX-Empty:"
    head = http1.parse_request_head(raw)
    assert (head.method, head.target) == ("POST", "/api/v1/x?y=%2F")
    assert head.headers == (("Host", "a"), ("Accept", "application/json"), ("X-Empty", ""))
    assert http1.parse_request_head(http1.encode_request_head(head)[:-4]) == head


def test_an_answer_is_read_and_written() -> None:
    head = http1.parse_response_head(b"HTTP/1.1 200 OK\r\nConnection: close")
    assert (head.status, head.reason, head.is_persistent) == (200, "OK", False)
    assert http1.parse_response_head(b"HTTP/1.1 404 ").is_persistent
    assert not http1.parse_response_head(b"HTTP/1.0 200 OK").is_persistent
    assert http1.encode_response_head(ResponseHead(404, "", (("A", "b"),))) == b"HTTP/1.1 404 Not Found\r\nA: b\r\n\r\n"


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.0",
        b"GET  / HTTP/1.1",
        b"GET / HTTP/1.1 ",
        b"G(T / HTTP/1.1",
        b"GET http://elsewhere/ HTTP/1.1",
        b"GET /a b HTTP/1.1",
        b"GET / HTTP/1.1\r\nno colon",
        b"GET / HTTP/1.1\r\nname : value",
        b"GET / HTTP/1.1\r\na: b\r\n folded",
        b"GET / HTTP/1.1\r\na: b\nc: d",
        b"GET / HTTP/1.1\r\na: b\rc: d",
        b"GET / HTTP/1.1\r\na: \0",
        b"GET / HTTP/1.1\r\n: empty",
        b"",
    ],
)
def test_what_is_no_request_is_refused(raw: bytes) -> None:
    with pytest.raises(HttpError):
        http1.parse_request_head(raw)


@pytest.mark.parametrize(
    "raw", [b"HTTP/2 200 OK", b"HTTP/1.1 20 OK", b"HTTP/1.1 2x0 OK", b"nonsense", b"HTTP/1.1 099 x"]
)
def test_what_is_no_answer_is_refused(raw: bytes) -> None:
    with pytest.raises(HttpError):
        http1.parse_response_head(raw)


@pytest.mark.parametrize(
    "headers",
    [
        (("Content-Length", "1"), ("Transfer-Encoding", "chunked")),
        (("Content-Length", "1"), ("Content-Length", "2")),
        (("Content-Length", "+1"),),
        (("Content-Length", "1, 1"),),
        (("Content-Length", "-1"),),
        (("Content-Length", "\u0661"),),
        (("Transfer-Encoding", "gzip, chunked"),),
        (("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")),
        (("Transfer-Encoding", "xchunked"),),
    ],
)
def test_lengths_that_can_be_read_in_two_ways_are_refused(headers: http1.Headers) -> None:
    with pytest.raises(HttpError):
        http1.request_body(RequestHead("POST", "/", headers))


def test_whose_body_ends_where() -> None:
    length: http1.Headers = (("content-length", "5"),)
    assert isinstance(http1.request_body(RequestHead("POST", "/", ())), LengthBody)
    assert http1.request_body(RequestHead("GET", "/", ())).is_over
    assert not http1.response_body(ResponseHead(200, "", length), "GET").is_over
    for status, method in ((200, "HEAD"), (204, "GET"), (304, "GET")):
        head = ResponseHead(status, "", length)
        assert http1.response_body(head, method).is_over
    assert isinstance(http1.response_body(ResponseHead(200, "", ()), "GET"), EndlessBody)
    assert isinstance(
        http1.response_body(ResponseHead(200, "", (("Transfer-Encoding", "Chunked"),)), "GET"), ChunkedBody
    )


def feed(body: http1.Body, wire: bytes, cuts: list[int]) -> tuple[bytes, bytes]:
    content, rest, start = b"", b"", 0
    for cut in [*sorted(cuts), len(wire)]:
        found, left = body.feed(wire[start:cut])
        content += b"".join(found)
        if body.is_over:
            return content, left + wire[cut:]
        start = cut
    return content, rest


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    st.lists(st.integers(0, 200), max_size=8),
    st.binary(max_size=5),
)
def test_chunks_are_joined_however_they_come(pieces: list[bytes], cuts: list[int], rest: bytes) -> None:
    wire = b"".join(map(http1.encode_chunk, pieces)) + b"0;ext=1\r\nTrailer: x\r\n\r\n" + rest
    assert feed(ChunkedBody(), wire, [cut for cut in cuts if cut < len(wire)]) == (b"".join(pieces), rest)


@pytest.mark.parametrize(
    "wire",
    [
        b"x\r\n",
        b"-1\r\n",
        b"1 1\r\n",
        b"1\n",
        b"1\r\nab",
        b"1\r\na\rb",
        b"0x1\r\n",
        b"ffffffffffffffff1\r\n",
        b"1" + b" " * 5000,
        b"\r\n",
    ],
)
def test_broken_chunks_are_refused(wire: bytes) -> None:
    with pytest.raises(HttpError):
        ChunkedBody().feed(wire)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (http1.parse_request_head, http1.parse_response_head, ChunkedBody().feed):
        with contextlib.suppress(HttpError):
            read(data)


def test_a_body_with_a_length_leaves_what_follows() -> None:
    body = LengthBody(3)
    assert body.feed(b"ab") == ([b"ab"], b"")
    assert body.feed(b"cGET") == ([b"c"], b"GET")
    assert body.is_over


def test_heads_have_a_bound() -> None:
    assert http1.split_head(b"a\r\n\r\nb") == (b"a", b"b")
    assert http1.split_head(b"a" * 100) is None
    with pytest.raises(HttpError):
        http1.split_head(b"a" * (http1.HEAD_LIMIT_BYTES + 1))
    with pytest.raises(HttpError):
        http1.split_head(b"a" * (http1.HEAD_LIMIT_BYTES + 1) + b"\r\n\r\n")


def test_headers_about_one_connection_go_no_further() -> None:
    headers: http1.Headers = (
        ("Connection", "keep-alive, X-Mine"),
        ("X-Mine", "1"),
        ("TE", "trailers"),
        ("Accept", "*/*"),
    )
    assert http1.end_to_end(headers) == (("Accept", "*/*"),)


@pytest.mark.parametrize("headers", [(("A\r\nB", "x"),), (("A", "x\r\nB: y"),), (("", "x"),), (("A", "\u20ac"),)])
def test_nothing_is_written_that_would_be_something_else(headers: http1.Headers) -> None:
    with pytest.raises(HttpError):
        http1.encode_request_head(RequestHead("GET", "/", headers))
    for target in ("/a b", "/\r\n", ""):
        with pytest.raises(HttpError):
            http1.encode_request_head(RequestHead("GET", target, ()))
