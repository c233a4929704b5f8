"""Log files against Python's gzip, the gzip program and hostile senders."""

from __future__ import annotations

import gzip
import json
import random
import struct
import subprocess
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves.wire import logfile, newlog
from eaves.wire.errors import GzipBombError, MalformedGzipError, NewlogError
from eaves.wire.logfile import DeviceComment, LogFileWriter
from eaves.wire.newlog import LogRecord

CREATED_S = 1_767_323_045
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def deflate(content: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(content) + compressor.flush()


def member(content: bytes, *, flags: int = 0, extra: bytes = b"", trailer: bytes | None = None) -> bytes:
    """A gzip member put together by hand from RFC 1952."""
    end = struct.pack("<II", zlib.crc32(content), len(content)) if trailer is None else trailer
    return (
        b"\x1f\x8b\x08" + bytes([flags]) + struct.pack("<I", CREATED_S) + b"\x00\x03" + extra + deflate(content) + end
    )


@given(st.binary(max_size=2000))
def test_python_unpacks_what_is_packed_and_the_other_way_round(content: bytes) -> None:
    assert gzip.decompress(logfile.encode_gzip(content, CREATED_S, name="web", comment="{}")) == content
    assert logfile.decode_gzip(gzip.compress(content, mtime=CREATED_S)) == logfile.GzipMember(
        content, "", "", CREATED_S
    )


def test_header_is_what_the_standard_says() -> None:
    data = logfile.encode_gzip(b"", CREATED_S, name="web", comment="{}")
    assert data[:10] == b"\x1f\x8b\x08\x18" + struct.pack("<I", CREATED_S) + b"\x00\xff"
    assert data[10:].startswith(b"web\0{}\0")


def test_the_gzip_program_accepts_a_written_file() -> None:
    writer = LogFileWriter()
    assert writer.add(newlog.encode_line(LogRecord("hello")))
    data = writer.finish(CREATED_S, name="wéb", comment='{"a":1}')
    result = subprocess.run(["gzip", "-dc"], input=data, capture_output=True, check=True, timeout=30)
    assert result.stdout == b'{"content":"hello"}\n'


@given(texts)
def test_app_name_survives_the_header(name: str) -> None:
    # A name that itself contains an escape is read as the character: the device API has no way to tell them apart.
    data = logfile.encode_gzip(b"", CREATED_S, name=name)
    if "\\u" not in name:
        assert logfile.parse_app_name(logfile.decode_gzip(data).name) == name


@pytest.mark.parametrize(
    ("name", "written"),
    [("é", b"\xe9"), ("ł", b"\\u0142"), ("😀", b"\\ud83d\\ude00"), ("a\0b", b"a\\u0000b"), ("ÿĀ", b"\xff\\u0100")],
)
def test_characters_outside_latin_1_are_escaped(name: str, written: bytes) -> None:
    data = logfile.encode_gzip(b"", CREATED_S, name=name)
    assert data[10:].startswith(written + b"\0")


@given(texts, texts, texts)
def test_device_comment_stays_json_in_the_header(device_id: str, image: str, version: str) -> None:
    comment = DeviceComment(device_id, image, version)
    data = logfile.encode_gzip(b"", CREATED_S, comment=logfile.encode_device_comment(comment))
    written = logfile.decode_gzip(data).comment
    assert logfile.parse_device_comment(written) == comment
    assert json.loads(written) == {"devID": device_id, "image": image, "eveVersion": version}


@pytest.mark.parametrize("comment", ["", "hello", "[]", '{"devID":5}', '{"x":' * 3000])
def test_comment_that_is_no_json_is_refused(comment: str) -> None:
    with pytest.raises(NewlogError):
        logfile.parse_device_comment(comment)


def test_unknown_parts_of_a_device_comment_do_no_harm() -> None:
    assert logfile.parse_device_comment('{"devID":"d","log":[],"timestamp":{}}') == DeviceComment("d")


def test_all_optional_header_parts_are_read() -> None:
    flags, start = 0x1F, b"\x1f\x8b\x08\x1f" + struct.pack("<I", CREATED_S) + b"\x00\x03"
    header = start + b"\x04\x00abcd" + b"name\0" + b"comment\0"
    checksum = struct.pack("<H", zlib.crc32(header) & 0xFFFF)
    data = member(b"content", flags=flags, extra=header[10:] + checksum)
    assert gzip.decompress(data) == b"content"
    assert logfile.decode_gzip(data) == logfile.GzipMember(b"content", "name", "comment", CREATED_S)
    wrong = member(b"content", flags=flags, extra=header[10:] + b"??")
    with pytest.raises(MalformedGzipError, match="header"):
        logfile.decode_gzip(wrong)


def test_bomb_is_refused_and_a_file_of_exactly_the_limit_is_not() -> None:
    data = gzip.compress(b"\0" * 1000)
    assert logfile.decode_gzip(data, 1000).content == b"\0" * 1000
    with pytest.raises(GzipBombError, match="more than 999"):
        logfile.decode_gzip(data, 999)
    big = gzip.compress(b"\0" * 50_000_000)
    assert len(big) < 65_536
    with pytest.raises(GzipBombError):
        logfile.decode_gzip(big)


def test_empty_file_is_a_file() -> None:
    assert logfile.decode_gzip(member(b""), 0).content == b""


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x1f\x8b",
        b"hello world, this is text",
        b"\x1f\x8b\x07" + bytes(20),
        member(b"x", flags=0x20),
        member(b"x") + b"y",
        member(b"x") + member(b"y"),
        member(b"x")[:-1],
        member(b"x")[:-9],
        member(b"x", trailer=struct.pack("<II", 0, 1)),
        member(b"x", trailer=struct.pack("<II", zlib.crc32(b"x"), 2)),
        member(b"x", flags=0x04, extra=b"\xff\xff"),
        member(b"x", flags=0x08, extra=b"n" * 5000 + b"\0"),
        b"\x1f\x8b\x08\x08" + bytes(6) + b"name without end",
        b"\x1f\x8b\x08\x00" + bytes(6) + b"\xff" * 50,
    ],
)
def test_file_that_is_not_exactly_one_good_member_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedGzipError):
        logfile.decode_gzip(data)


@given(st.binary(max_size=100), st.booleans())
def test_any_bytes_are_unpacked_or_refused_with_an_own_error(data: bytes, with_magic: bool) -> None:
    try:
        logfile.decode_gzip((b"\x1f\x8b\x08" if with_magic else b"") + data, 1000)
    except NewlogError:
        return


@given(st.data())
def test_damage_is_noticed(data: st.DataObject) -> None:
    packed = bytearray(logfile.encode_gzip(b"some content that matters", CREATED_S))
    packed[data.draw(st.integers(0, len(packed) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        assert logfile.decode_gzip(bytes(packed)).content == b"some content that matters"
    except NewlogError:
        return


def test_too_long_name_is_refused_by_the_sender() -> None:
    with pytest.raises(NewlogError, match="most is 4096"):
        logfile.encode_gzip(b"", CREATED_S, name="ł" * 1000)


@pytest.mark.parametrize("kind", ["noise", "text"])
def test_files_stay_near_the_target_and_below_the_limit_and_lose_nothing(kind: str) -> None:
    source = random.Random(4)
    contents = [
        source.randbytes(source.choice([10, 100, 5000, 25_000])).hex()
        if kind == "noise"
        else f"request {index} took 12 ms"
        for index in range(60 if kind == "noise" else 20_000)
    ]
    files, writer = [], LogFileWriter()
    for number, content in enumerate(contents):
        line = newlog.encode_line(LogRecord(content, number=number))
        if not writer.add(line):
            files.append(writer.finish(CREATED_S))
            writer = LogFileWriter()
            assert writer.add(line)
    files.append(writer.finish(CREATED_S))
    assert len(files) > 1
    assert all(len(file) <= logfile.LIMIT_BYTES for file in files)
    if kind == "text":
        assert all(len(file) >= logfile.TARGET_BYTES for file in files[:-1])
    found = [record.content for file in files for record in logfile.decode_log_file(file)[1].records]
    assert found == contents


def test_longest_incompressible_line_still_fits_a_file() -> None:
    writer = LogFileWriter()
    # Latin letters with accents: two bytes each, about as dense as JSON text gets.
    noise = random.Random(5)
    content = "".join(chr(noise.randrange(0x80, 0x7FF)) for _ in range(40_000))
    assert writer.add(newlog.encode_line(LogRecord(content)))
    assert len(writer.finish(CREATED_S, name="n" * 4000, comment="c" * 4000)) <= logfile.LIMIT_BYTES
