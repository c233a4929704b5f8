"""What of the blobs and disk images is removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from eaves.node.images.store import DiskStore

KEPT, GONE = "a" * 64, "b" * 64


@pytest.fixture
def store(tmp_path: Path) -> DiskStore:
    for name in ("sha256", "partial", "disks"):
        (tmp_path / name).mkdir()
    return DiskStore(tmp_path)


def test_only_what_nobody_needs_is_removed(store: DiskStore) -> None:
    for digest in (KEPT, GONE):
        (store.blobs / digest).write_text("whole")
        for name in (digest, f"{digest}.json", f".{digest}.json.x1y2"):
            (store.partials / name).write_text("partial, and its record on its way to the disk")
        for name in (f"{digest}-RAW", f".making-{digest}-QCOW2"):
            (store.folder / "disks" / name).mkdir()
    keys = {f"{KEPT}-RAW"}
    gone = store.remove_unused(keys=keys, needed={f"sha256:{KEPT}", f"{KEPT}-QCOW2"}, in_use=())
    assert set(gone) == {f"{GONE}-RAW", f".making-{GONE}-QCOW2"}
    assert [path.name for path in store.blobs.iterdir()] == [KEPT]
    assert {path.name for path in store.partials.iterdir()} == {KEPT, f"{KEPT}.json", f".{KEPT}.json.x1y2"}
    assert {path.name for path in (store.folder / "disks").iterdir()} == {f"{KEPT}-RAW", f".making-{KEPT}-QCOW2"}


def test_what_a_volume_is_backed_by_stays(store: DiskStore) -> None:
    folder = store.folder / "disks" / f"{GONE}-RAW"
    folder.mkdir()
    assert store.remove_unused(keys=(), needed=(), in_use=[f"{folder}/root.raw"]) == []
    assert folder.exists()
