"""The tunnel's protocol: who can open, read or change a stream, and who cannot."""

from __future__ import annotations

import os

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves.wire import tunnel
from eaves.wire.tunnel import (
    CloseCause,
    CloseCode,
    FrameKind,
    FreshKey,
    Opening,
    Refusal,
    RefusalCode,
    Session,
    StreamRequest,
    TunnelProtocolError,
)

DEVICE = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
STREAM = tunnel.encode_stream_id(bytes(range(32)))
CHALLENGE = bytes(32)


def make_sessions() -> tuple[Session, Session]:
    node, controller = FreshKey(), FreshKey()
    return (
        Session.of_controller(controller, node.public, CHALLENGE, STREAM),
        Session.of_node(node, controller.public, CHALLENGE, STREAM),
    )


def make_opening(node_key: bytes = bytes(32), **changes: object) -> bytes:
    opening = Opening(STREAM, DEVICE, node_key, bytes(32), StreamRequest("exec", {"app": "a"}))
    return tunnel.encode_opening(msgspec.structs.replace(opening, **changes))


def test_frames_go_both_ways() -> None:
    controller, node = make_sessions()
    for sender, receiver in ((controller, node), (node, controller)):
        for kind, data in ((FrameKind.DATA, b"one"), (FrameKind.DATA, b""), (FrameKind.END, b"")):
            frame = receiver.open(sender.seal(kind, data))
            assert (frame.kind, frame.data) == (kind, data)


def test_the_largest_frame_keeps_to_its_limit() -> None:
    controller, node = make_sessions()
    message = controller.seal(FrameKind.DATA, bytes(tunnel.DATA_LIMIT_BYTES))
    assert len(message) == tunnel.FRAME_LIMIT_BYTES
    assert len(node.open(message).data) == tunnel.DATA_LIMIT_BYTES


@pytest.mark.parametrize("what", ["changed", "kind", "repeated", "lost", "reflected", "empty", "of another stream"])
def test_a_frame_that_is_not_the_next_one_ends_the_stream(what: str) -> None:
    controller, node = make_sessions()
    first, second = controller.seal(FrameKind.DATA, b"first"), controller.seal(FrameKind.DATA, b"second")
    other, _ = make_sessions()
    bad = {
        "changed": first[:-1] + bytes((first[-1] ^ 1,)),
        "kind": bytes((FrameKind.CLOSE,)) + first[1:],
        "lost": second,
        "reflected": node.seal(FrameKind.DATA, b"first"),
        "empty": b"",
        "of another stream": other.seal(FrameKind.DATA, b"first"),
    }
    if what == "repeated":
        node.open(first)
    with pytest.raises(TunnelProtocolError, match="changed, repeated or lost"):
        node.open(bad.get(what, first))


@given(st.binary(max_size=200))
def test_noise_is_no_frame(message: bytes) -> None:
    _, node = make_sessions()
    with pytest.raises(TunnelProtocolError):
        node.open(message)


def test_nothing_of_the_data_is_readable_on_the_way() -> None:
    controller, _ = make_sessions()
    assert b"secret" not in controller.seal(FrameKind.DATA, b"secret" * 10)


def test_a_proof_is_for_one_challenge_and_one_stream() -> None:
    key, challenge = os.urandom(32), os.urandom(32)
    proof = tunnel.want_proof(challenge, STREAM, key)
    assert tunnel.parse_proof(proof, challenge, STREAM) == key
    other = tunnel.encode_stream_id(os.urandom(32))
    for bad, of_challenge, of_stream in (
        (proof, bytes(32), STREAM),
        (proof, challenge, other),
        (proof[:-1], challenge, STREAM),
        (proof + b"x", challenge, STREAM),
        (b"", challenge, STREAM),
    ):
        with pytest.raises(TunnelProtocolError):
            tunnel.parse_proof(bad, of_challenge, of_stream)


def test_an_opening_is_for_one_stream_of_one_device_and_one_key() -> None:
    key = os.urandom(32)
    opening = tunnel.parse_opening(make_opening(key), STREAM, DEVICE, key)
    assert opening.request == StreamRequest("exec", {"app": "a"})
    other = tunnel.encode_stream_id(os.urandom(32))
    for bad in (
        make_opening(key, stream=other),
        make_opening(key, device="ffffffff-bbbb-4ccc-8ddd-eeeeeeeeeeee"),
        make_opening(os.urandom(32)),
        make_opening(key)[1:],
        make_opening(key)[:-1],
        b"",
    ):
        with pytest.raises(TunnelProtocolError):
            tunnel.parse_opening(bad, STREAM, DEVICE, key)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"challenge": "x"}', '{"challenge": "eA=="}', '{"challenge": 1}'])
def test_what_is_no_challenge(text: str) -> None:
    with pytest.raises(TunnelProtocolError):
        tunnel.parse_challenge(text)
    assert tunnel.parse_challenge(tunnel.encode_challenge(CHALLENGE)) == CHALLENGE


@pytest.mark.parametrize("text", ["", "x" * 42, "x" * 44, "../" + "x" * 40, "x" * 42 + "=", "ü" * 43, "x" * 43 + "\n"])
def test_what_is_no_stream_id(text: str) -> None:
    with pytest.raises(TunnelProtocolError):
        tunnel.parse_stream_id(text)
    assert tunnel.parse_stream_id(STREAM) == STREAM


def test_a_key_that_agrees_on_nothing_is_refused() -> None:
    with pytest.raises(TunnelProtocolError):
        FreshKey().agree(bytes(32))
    with pytest.raises(TunnelProtocolError):
        FreshKey().agree(bytes(31))


def test_causes_and_refusals_survive_the_way_and_newer_versions() -> None:
    controller, node = make_sessions()
    cause = CloseCause(CloseCode.IDLE, "nothing travelled")
    assert tunnel.parse_close(node.open(controller.seal_close(cause)).data) == cause
    long = node.open(controller.seal_close(CloseCause(CloseCode.FAILED, "x" * 5000))).data
    assert len(tunnel.parse_close(long).message) == 1000
    refusal = Refusal(RefusalCode.NOT_RUNNING, "stopped")
    assert tunnel.parse_refusal(controller.open(node.seal_refusal(refusal)).data) == refusal
    assert tunnel.parse_close(b'{"code": "Later", "message": "x"}').code is CloseCode.FAILED
    assert tunnel.parse_refusal(b"junk") == Refusal(RefusalCode.FAILED, "junk")


def test_a_request_is_bounded_and_its_parameters_are_checked() -> None:
    class Shape(msgspec.Struct):
        app: str
        port: int = 0

    tunnel.check_request(StreamRequest("exec", {"command": ["x" * 40_000]}))
    with pytest.raises(TunnelProtocolError, match="at most 49152 are allowed"):
        tunnel.check_request(StreamRequest("exec", {"command": ["x" * 50_000]}))
    assert tunnel.parse_parameters(StreamRequest("x", {"app": "a", "more": 1}), Shape) == Shape("a")
    with pytest.raises(TunnelProtocolError, match="port"):
        tunnel.parse_parameters(StreamRequest("x", {"app": "a", "port": "1"}), Shape)


def test_long_data_is_split() -> None:
    assert [len(piece) for piece in tunnel.split_data(bytes(150_000))] == [65536, 65536, 18928]
    assert tunnel.split_data(b"") == []
