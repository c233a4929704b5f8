"""What somebody holds for a while is wished for beside what the config asks for, and takes nothing of it away."""

from __future__ import annotations

from eaves.node.desired.model import DesiredNode, DesiredVolume, VolumeSnapshotWish
from eaves.node.volumes.holding import Holds
from eaves.node.volumes.model import VolumeKey

KEY = VolumeKey("data", 0)
OURS, HELD = VolumeSnapshotWish("s1", "daily"), VolumeSnapshotWish("export-1", "export-1")


def node(limit: int = 0) -> DesiredNode:
    volume = DesiredVolume("data", 0, "data", "", 0, snapshots=(OURS,), snapshots_limit=limit)
    return DesiredNode("device", "1", "", volumes=(volume,))


def test_held_snapshots_are_wished_for_until_they_are_let_go() -> None:
    changes: list[int] = []
    holds = Holds(lambda: changes.append(1))
    assert holds.extend(node()) == node()
    with holds.hold(KEY, HELD), holds.hold(KEY, HELD):
        assert holds.extend(node()).volumes[0].snapshots == (OURS, HELD)
    assert holds.extend(node()) == node()
    assert len(changes) == 4


def test_nothing_of_the_config_makes_way_for_them() -> None:
    holds = Holds(lambda: None)
    with holds.hold(KEY, HELD):
        assert [holds.extend(node(limit)).volumes[0].snapshots_limit for limit in (0, 1)] == [0, 2]
    with holds.hold(KEY, OURS):
        assert holds.extend(node(1)) == node(1)
