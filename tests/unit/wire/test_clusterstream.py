"""Requests to a cluster as somebody: the caller's own credentials and claims go, the signed identity comes in."""

from __future__ import annotations

import pytest

from eaves.wire import clusterstream
from eaves.wire.clusterstream import BadIdentityError, HttpParameters
from eaves.wire.http1 import RequestHead

ANN = HttpParameters("c", "ann", ("ops", "eaves:view"), "u-1", {"team/a b": ("x", "y")})


def test_the_identity_is_that_of_the_stream() -> None:
    given = RequestHead(
        "GET",
        "/api?watch=1",
        (
            ("Host", "controller"),
            ("Authorization", "Bearer secret"),
            ("Cookie", "session=secret"),
            ("Impersonate-User", "root"),
            ("impersonate-group", "system:masters"),
            ("Impersonate-Extra-x", "y"),
            ("X-Remote-User", "root"),
            ("X-Forwarded-For", "1.2.3.4"),
            ("Proxy-Authorization", "Basic x"),
            ("Connection", "close, X-Secret"),
            ("X-Secret", "s"),
            ("Accept", "application/json"),
        ),
    )
    assert clusterstream.impersonate(given, ANN, "127.0.0.1:6443") == RequestHead(
        "GET",
        "/api?watch=1",
        (
            ("Host", "127.0.0.1:6443"),
            ("Accept", "application/json"),
            ("Impersonate-User", "ann"),
            ("Impersonate-Group", "ops"),
            ("Impersonate-Group", "eaves:view"),
            ("Impersonate-Uid", "u-1"),
            ("Impersonate-Extra-team%2Fa%20b", "x"),
            ("Impersonate-Extra-team%2Fa%20b", "y"),
        ),
    )


def test_the_length_of_a_body_and_an_upgrade_stay() -> None:
    head = RequestHead("POST", "/", (("Content-Length", "3"),))
    assert ("Content-Length", "3") in clusterstream.impersonate(head, ANN, "h").headers
    head = RequestHead("POST", "/", (("Transfer-Encoding", "chunked"),))
    assert ("Transfer-Encoding", "chunked") in clusterstream.impersonate(head, ANN, "h").headers
    head = RequestHead("GET", "/", (("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1")))
    assert clusterstream.impersonate(head, ANN, "h").headers[-2:] == (
        ("Connection", "Upgrade"),
        ("Upgrade", "SPDY/3.1"),
    )


def test_a_token_among_the_subprotocols_goes_no_further() -> None:
    both = (("Sec-WebSocket-Protocol", "base64url.bearer.authorization.k8s.io.c2VjcmV0, v5.channel.k8s.io"),)
    assert clusterstream.plain_headers(both) == (("Sec-WebSocket-Protocol", "v5.channel.k8s.io"),)
    assert clusterstream.plain_headers((("Sec-WebSocket-Protocol", "base64url.bearer.x"),)) == ()


@pytest.mark.parametrize(
    "parameters",
    [
        HttpParameters("c", ""),
        HttpParameters("c", "a\r\nImpersonate-Group: system:masters"),
        HttpParameters("c", "a", ("ok", "bad\0")),
        HttpParameters("c", "a", (), "\n"),
        HttpParameters("c", " a"),
        HttpParameters("c", "a", (), "", {"k": ("bad\r",)}),
    ],
)
def test_names_that_no_header_can_carry_are_refused(parameters: HttpParameters) -> None:
    with pytest.raises(BadIdentityError):
        list(clusterstream.identity_headers(parameters))


def test_names_beyond_ascii_are_utf_8() -> None:
    headers = dict(clusterstream.identity_headers(HttpParameters("c", "zoë")))
    assert headers["Impersonate-User"].encode("latin-1").decode() == "zoë"
