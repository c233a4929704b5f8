"""Which mounts are ours."""

from __future__ import annotations

from pathlib import Path

from eaves.node.mounts import parse_mounts

TABLE = r"""
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
80 22 254:0 / /var/lib/eaves rw - ext4 /dev/vdb rw
81 22 0:40 / /var/lib/eaves/containers/overlay rw - overlay overlay rw
82 81 0:41 / /var/lib/eaves/containers/overlay/a\040b/merged rw - overlay overlay rw
83 22 0:42 / /var/lib/eaves-controller/x rw - tmpfs tmpfs rw
""".strip()


def test_mounts_below_a_folder_come_innermost_first() -> None:
    assert parse_mounts(TABLE, [Path("/var/lib/eaves")]) == [
        "/var/lib/eaves/containers/overlay/a b/merged",
        "/var/lib/eaves/containers/overlay",
    ]


def test_the_folder_itself_may_be_a_disk_of_its_own_and_stays() -> None:
    assert "/var/lib/eaves" not in parse_mounts(TABLE, [Path("/var/lib/eaves")])


def test_a_folder_without_mounts_has_none() -> None:
    assert parse_mounts(TABLE, [Path("/run/eaves")]) == []
