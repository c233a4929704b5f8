"""What volumes hold, from what is on the disk."""

from __future__ import annotations

from pathlib import Path

from eaves.node.volumes.model import Form, Seen, Use, VolumeKey
from eaves.node.volumes.observe import observe_use


def test_a_volume_that_was_unmounted_meanwhile_does_not_tell_of_the_nodes_own_disk(tmp_path: Path) -> None:
    seen = Seen(VolumeKey("data", 0), Form.EXT4, tmp_path, is_mounted=True)
    seen.path.mkdir()
    seen.file.write_bytes(b"x" * 4096)
    assert observe_use(seen) == Use(0, seen.file.stat().st_blocks * 512)
