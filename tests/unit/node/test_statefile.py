"""Small records on disk."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from eaves.node.statefile import StateFile


class Record(Struct):
    value: int = 0


async def test_record_survives_and_a_bad_one_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    file = StateFile(path, Record)
    assert await file.load() == Record()
    await file.save(Record(5))
    assert await StateFile(path, Record).load() == Record(5)
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("{half")
    assert await StateFile(path, Record).load() == Record()
    assert path.with_suffix(".bad").read_text() == "{half"


async def test_equal_record_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    file = StateFile(path, Record)
    await file.save(Record(5))
    before = path.stat().st_ino
    await file.save(Record(5))
    assert path.stat().st_ino == before
    await file.save(Record(6))
    assert path.stat().st_ino != before
    await file.remove()
    assert not path.exists()
