"""SPDY frames: what kubectl's library writes is read, what is written is read back, and junk is refused within bounds."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves.kube import spdy
from eaves.kube.spdy import (
    Data,
    Decoder,
    Encoder,
    Frame,
    GoAway,
    Headers,
    Ping,
    Reset,
    RstStream,
    Settings,
    SpdyError,
    SynReply,
    SynStream,
    WindowUpdate,
)
from eaves.kube.spdy_headers import DICTIONARY, HeaderBlockError, Packer, Unpacker

# Written by the library that kubectl uses; make.go beside them says how.
VECTORS: list[dict[str, str]] = json.loads((Path(__file__).parent / "spdy_vectors" / "vectors.json").read_text())
PORT = {"streamtype": "error", "port": "8080", "requestid": "0"}
MEANINGS: dict[str, Frame] = {
    "syn_stream error": SynStream(1, PORT),
    "data fin empty": Data(1, b"", fin=True),
    "syn_stream data": SynStream(3, {**PORT, "streamtype": "data"}, priority=2),
    "syn_stream fin": SynStream(5, {**PORT, "streamtype": "data", "requestid": "1"}, fin=True, associated_id=3),
    "syn_stream unidirectional": SynStream(7, {}, unidirectional=True),
    "syn_reply": SynReply(1),
    "syn_reply fin": SynReply(3, {"status": "200"}, fin=True),
    "headers": Headers(3, {"many": "one"}),
    "data": Data(3, b"GET / HTTP/1.1\r\n\r\n"),
    "data fin": Data(3, b"bye", fin=True),
    "rst_stream": RstStream(5, Reset.CANCEL),
    "settings": Settings({4: 100, 7: 65536}),
    "ping": Ping(1),
    "window_update": WindowUpdate(3, 4096),
    "goaway": GoAway(7),
}
WITH_HEADERS = ("syn", "headers")


def recording() -> bytes:
    return b"".join(bytes.fromhex(vector["hex"]) for vector in VECTORS)


def test_the_recording_is_read_as_what_it_says() -> None:
    decoder = Decoder()
    for vector in VECTORS:
        assert decoder.feed(bytes.fromhex(vector["hex"])) == [MEANINGS[vector["name"]]], vector["name"]
    assert len(VECTORS) == len(MEANINGS)


@pytest.mark.parametrize(
    "vector", [v for v in VECTORS if not v["name"].startswith(WITH_HEADERS)], ids=lambda v: v["name"]
)
def test_frames_without_headers_are_written_as_the_library_does(vector: dict[str, str]) -> None:
    frame = MEANINGS[vector["name"]]
    if vector["name"] == "settings":
        # The library sets a flag in the number that means nothing here.
        assert Decoder().feed(Encoder().encode(frame)) == [frame]
        return
    assert Encoder().encode(frame).hex() == vector["hex"]


def test_frames_may_be_cut_anywhere() -> None:
    raw = recording()
    for size in (1, 3, 7, 50):
        decoder, frames = Decoder(), []
        for at in range(0, len(raw), size):
            frames += decoder.feed(raw[at : at + size])
        assert [frame for frame in frames if not isinstance(frame, Data)] == [
            frame for frame in MEANINGS.values() if not isinstance(frame, Data)
        ]
        assert b"".join(frame.data for frame in frames if isinstance(frame, Data)) == b"GET / HTTP/1.1\r\n\r\nbye"
        assert [frame.stream_id for frame in frames if isinstance(frame, Data) and frame.fin] == [1, 3]


def test_long_data_comes_in_parts_and_only_the_last_ends_it() -> None:
    raw = Encoder().encode(Data(1, b"x" * 100_000, fin=True))
    decoder = Decoder()
    first, rest = decoder.feed(raw[:1000]), decoder.feed(raw[1000:])
    assert first == [Data(1, b"x" * 992)]
    assert rest == [Data(1, b"x" * 99_008, fin=True)]


def test_unknown_control_frames_are_passed_over() -> None:
    unknown = struct.pack(">HHI", 0x8003, 99, 5) + b"abcde"
    assert Decoder().feed(unknown + Encoder().encode(Ping(7))) == [Ping(7)]


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (struct.pack(">HHI", 0x8002, 6, 4) + b"\0\0\0\1", "version 2"),
        (struct.pack(">HHI", 0x8003, 6, 2) + b"\0\0", "too short"),
        (struct.pack(">HHI", 0x8003, 1, 3) + b"\0\0\0", "too short"),
        (struct.pack(">HHI", 0x8003, 1, spdy.CONTROL_LIMIT_BYTES + 1), "at most"),
        (struct.pack(">HHI", 0x8003, 2, 8) + b"\0\0\0\1nozl", "unpacked"),
        (struct.pack(">HHI", 0x8003, 3, 8) + bytes(8), "stream 0"),
        (struct.pack(">II", 0, 3) + b"abc", "stream 0"),
        (b"GET / HTTP/1.1\r\n\r\n", ""),
    ],
)
def test_what_breaks_the_protocol_is_refused(raw: bytes, why: str) -> None:
    if not why:
        # Text looks like data of some stream; what it is for is the connection's to judge.
        assert all(isinstance(frame, Data) for frame in Decoder().feed(raw))
        return
    with pytest.raises(SpdyError, match=why):
        Decoder().feed(raw)


def test_a_block_that_grows_beyond_measure_is_refused() -> None:
    packer = zlib.compressobj(zdict=DICTIONARY)
    packed = packer.compress(struct.pack(">II", 1, 1) + b"a" + struct.pack(">I", 10**7) + bytes(10**7))
    packed += packer.flush(zlib.Z_SYNC_FLUSH)
    assert len(packed) < 20_000
    with pytest.raises(HeaderBlockError, match="more than"):
        Unpacker().unpack(packed)


@pytest.mark.parametrize(
    "block",
    [b"", b"\0\0", struct.pack(">I", 1), struct.pack(">II", 1, 9) + b"short", struct.pack(">I", 0) + b"more",
     struct.pack(">IIBI", 1, 1, 255, 0), struct.pack(">I", 2**32 - 1)],
)  # fmt: skip
def test_blocks_that_lie_about_their_lengths_are_refused(block: bytes) -> None:
    packer = zlib.compressobj(zdict=DICTIONARY)
    with pytest.raises(HeaderBlockError):
        Unpacker().unpack(packer.compress(block) + packer.flush(zlib.Z_SYNC_FLUSH))


def test_the_dictionary_is_the_protocols() -> None:
    assert (len(DICTIONARY), zlib.adler32(DICTIONARY)) == (1423, 0xE3C6A7C2)


NAME = st.text(st.characters(codec="ascii", categories=["Ll", "Nd"]), min_size=1, max_size=20)
VALUE = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
HEADERS = st.dictionaries(NAME, VALUE, max_size=5)
STREAM = st.integers(1, 2**31 - 1)
NUMBER = st.integers(0, 2**31 - 1)
FRAMES: st.SearchStrategy[Frame] = st.one_of(
    st.builds(
        SynStream, STREAM, HEADERS, st.booleans(), st.booleans(), associated_id=NUMBER, priority=st.integers(0, 7)
    ),
    st.builds(SynReply, STREAM, HEADERS, st.booleans()),
    st.builds(Headers, STREAM, HEADERS, st.booleans()),
    st.builds(RstStream, STREAM, st.integers(1, 11)),
    st.builds(Settings, st.dictionaries(st.integers(1, 100), NUMBER, max_size=4)),
    st.builds(Ping, NUMBER),
    st.builds(GoAway, NUMBER, st.integers(0, 2)),
    st.builds(WindowUpdate, NUMBER, NUMBER),
)


@given(st.lists(FRAMES, max_size=8))
def test_control_frames_come_back_as_they_were(frames: list[Frame]) -> None:
    encoder = Encoder()
    assert Decoder().feed(b"".join(encoder.encode(frame) for frame in frames)) == frames


@given(
    st.lists(st.one_of(FRAMES, st.builds(Data, STREAM, st.binary(max_size=300), st.booleans())), max_size=8), st.data()
)
def test_cuts_change_nothing_but_the_parts_of_data(frames: list[Frame], data: st.DataObject) -> None:
    encoder, decoder = Encoder(), Decoder()
    raw = b"".join(encoder.encode(frame) for frame in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=6)))
    found: list[Frame] = []
    for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
        found += decoder.feed(raw[start:end])
    assert _joined(found) == _joined(frames)


def _joined(frames: list[Frame]) -> list[Frame]:
    """Neighbouring data of one stream as one frame."""
    joined: list[Frame] = []
    for frame in frames:
        last = joined[-1] if joined else None
        if isinstance(frame, Data) and isinstance(last, Data) and last.stream_id == frame.stream_id and not last.fin:
            joined[-1] = Data(frame.stream_id, last.data + frame.data, frame.fin)
        else:
            joined.append(frame)
    return joined


@given(st.lists(st.binary(max_size=200), max_size=10))
def test_junk_is_refused_or_waited_with_and_never_more(pieces: list[bytes]) -> None:
    decoder = Decoder()
    try:
        for piece in pieces:
            decoder.feed(piece)
    except SpdyError:
        return


@given(st.lists(HEADERS, min_size=1, max_size=6))
def test_blocks_build_on_those_before_them(blocks: list[dict[str, str]]) -> None:
    packer, unpacker = Packer(), Unpacker()
    assert [unpacker.unpack(packer.pack(block)) for block in blocks] == blocks
