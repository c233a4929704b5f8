"""Whatever happens in whatever order: what must never happen does not, and what is mended comes to rest as it is asked for."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from eaves.testing.clusterworld import World

SERVERS, AGENTS = ["a", "b", "c"], ["d", "e"]
VERSIONS = ["v1.34.2+k3s1", "v1.34.3+k3s1", "v1.35.0+k3s1"]


def disturb(world: World, dice: random.Random) -> None:
    """One thing that happens at a site, to a controller or by an operator. Nothing that loses most of the servers for good."""
    name = dice.choice(SERVERS + AGENTS)
    box = world.boxes[name]
    match dice.randrange(10):
        case 0:
            box.has_link = not box.has_link
        case 1:
            down = [other for other in SERVERS if not world.boxes[other].has_power]
            if box.has_power and (name in AGENTS or not down):
                world.losses += 1
                box.has_power = False
            else:
                box.has_power = True
        case 2:
            box.is_running = False
        case 3:
            box.pods_stuck = not box.pods_stuck
        case 4:
            current = VERSIONS.index(world.cluster.spec.version)
            world.edit(version=VERSIONS[min(current + 1, len(VERSIONS) - 1)])
        case 5:
            world.edit(agents={"nodeNames": dice.choice([["d"], ["e"], ["d", "e"], []])})
        case 6:
            world.edit(servers={"nodeNames": dice.choice([["a", "b", "c"], ["a", "b"], ["c", "b", "a"]])})
        case 7:
            orders = world.obj["spec"].get("operations", {})
            field = dice.choice(["snapshot", "rotateCertificates", "rotateToken"])
            world.edit(operations={**orders, field: orders.get(field, 0) + 1})
        case 8:
            box.is_broken = not box.is_broken
        case 9:
            box.cannot_fetch = "" if box.cannot_fetch else "the datastore is away"


@pytest.mark.parametrize("seed", range(24))
def test_a_site_comes_to_rest_after_anything(seed: int) -> None:
    come_to_rest(random.Random(seed), ())


@pytest.mark.parametrize("seed", range(100, 112))
def test_a_site_with_members_of_eve_comes_to_rest_after_anything(seed: int) -> None:
    dice = random.Random(seed)
    come_to_rest(dice, dice.choice([SERVERS, SERVERS + AGENTS, ["a"], ["b", "c"], ["d"], ["c", "e"]]))


def come_to_rest(dice: random.Random, eves: Sequence[str]) -> None:
    world = World(
        {"version": VERSIONS[0], "servers": {"nodeNames": SERVERS}, "agents": {"nodeNames": AGENTS}, "backup": {}},
        SERVERS + AGENTS,
    )
    for name in eves:
        world.boxes[name].eve_k3s = VERSIONS[-1]
    for _ in range(dice.randrange(5, 60)):
        world.turn()
        if dice.random() < 0.5:
            disturb(world, dice)
    world.edit(servers={"nodeNames": SERVERS}, agents={"nodeNames": AGENTS})
    for box in world.boxes.values():
        box.has_link = box.has_power = True
        box.is_broken = box.pods_stuck = False
        box.cannot_fetch = ""
    world.run(400)
    status = world.status
    assert status.phase == "Ready", f"{status.message}\n" + "\n".join(world.log[-10:])
    assert (len(world.voters), world.bootstraps) == (3, 1)
    versions = {box.version for box in world.boxes.values() if not box.eve_k3s}
    assert versions <= {world.cluster.spec.version}
    if eves:
        # Not every order is for them.
        return
    orders = world.cluster.spec.operations
    assert (status.done.snapshot, status.done.rotate_token) == (orders.snapshot, orders.rotate_token)
    assert status.done.rotate_certificates == orders.rotate_certificates + status.automatic_rotations
