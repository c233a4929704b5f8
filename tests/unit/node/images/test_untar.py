"""One file out of a layer."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from eaves.node.images import untar
from eaves.node.images.untar import __main__ as program


def make_layer(folder: Path, *entries: tuple[str, bytes | None]) -> Path:
    """Names with their content; None = a symbolic link to a file of the node."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in entries:
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    path = folder / "layer"
    path.write_bytes(buffer.getvalue())
    return path


DISK = bytes(3 << 20) + b"end"


@pytest.mark.parametrize("name", ["disk/vm.qcow2", "./disk/vm.qcow2", "/disk/vm.qcow2"])
@pytest.mark.parametrize("member", ["disk/", "disk/vm.qcow2"])
def test_the_file_is_found_and_its_zeros_take_no_space(tmp_path: Path, name: str, member: str) -> None:
    layer = make_layer(tmp_path, ("etc/x", b"1"), (name, DISK), ("disk/sub/other", b"2"), ("disk/.wh.old", b""))
    target = tmp_path / "out"
    assert program.take(layer, member, target, 1 << 30) == 0
    assert target.read_bytes() == DISK
    assert target.stat().st_blocks * 512 < len(DISK)


def test_gzip_of_several_members(tmp_path: Path) -> None:
    layer = make_layer(tmp_path, ("disk/a", DISK))
    raw = layer.read_bytes()
    layer.write_bytes(gzip.compress(raw[:1000]) + gzip.compress(raw[1000:]))
    assert program.take(layer, "disk/", tmp_path / "out", 1 << 30) == 0
    assert (tmp_path / "out").read_bytes() == DISK


def test_padding_at_the_end_may_be_missing(tmp_path: Path) -> None:
    layer = make_layer(tmp_path, ("disk/a", b"x" * 700))
    layer.write_bytes(layer.read_bytes()[: 512 + 1024 + 100])
    assert program.take(layer, "disk/", tmp_path / "out", 1 << 30) == 0


@pytest.mark.parametrize(
    ("entries", "member", "status"),
    [
        ([("etc/x", b"1")], "disk/", untar.MISSING),
        ([("disk/link", None)], "disk/", untar.MISSING),
        ([("disk/a", b"1"), ("disk/b", b"2")], "disk/", untar.SEVERAL),
        ([("disk/a", b"12345")], "disk/", untar.TOO_LARGE),
    ],
)
def test_what_is_no_disk(tmp_path: Path, entries: list[tuple[str, bytes | None]], member: str, status: int) -> None:
    assert program.take(make_layer(tmp_path, *entries), member, tmp_path / "out", 4) == status


@pytest.mark.parametrize(
    "content", [b"nonsense" * 100, gzip.compress(b"x" * 5000, mtime=0)[:-20], b""], ids=["text", "cut", "empty"]
)
def test_a_layer_that_cannot_be_read_is_told(tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "layer").write_bytes(content)
    monkeypatch.setattr("sys.argv", ["untar", str(tmp_path / "layer"), "disk/", str(tmp_path / "out"), "100"])
    assert program.main() == untar.UNREADABLE
