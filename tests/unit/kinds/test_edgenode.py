"""EdgeNodes: faults in their fields, counters that only grow, memory that is left for apps."""

from __future__ import annotations

from typing import Any

import pytest

from eaves.kinds.edgenode import RESOURCE, allocatable_memory_bytes
from eaves.testing.objects import make_edgenode


def paths(new: dict[str, Any], old: dict[str, Any] | None = None) -> list[str]:
    return [fault.path for fault in RESOURCE.validate(new, old)]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, []),
        ({"uplinks": [{"name": "eth0"}, {"name": "lte", "interface": "wwan0", "cost": 10}]}, []),
        (
            {
                "uplinks": [
                    {
                        "name": "eth0",
                        "addresses": ["192.0.2.10/24"],
                        "gateway": "192.0.2.1",
                        "dnsServers": ["192.0.2.53"],
                    }
                ]
            },
            [],
        ),
        ({"uplinks": [{"name": "eth0", "addresses": ["192.0.2.10/24"]}]}, ["spec.uplinks[0].gateway"]),
        (
            {"uplinks": [{"name": "eth0", "addresses": ["192.0.2.10"], "gateway": "192.0.2.1"}]},
            ["spec.uplinks[0].addresses[0]"],
        ),
        ({"uplinks": [{"name": "a-very-long-interface"}]}, ["spec.uplinks[0].interface"]),
        ({"uplinks": [{"name": "eth0", "management": False}]}, ["spec.uplinks"]),
        ({"uplinks": [{"name": "a", "interface": "eth0"}, {"name": "eth0"}]}, ["spec.uplinks[1].interface"]),
        ({"properties": {"timer.config.interval": "10"}}, []),
        ({"properties": {"timer.config.interval": "1"}}, ["spec.properties[timer.config.interval]"]),
        ({"properties": {"timer.config.interval": "soon"}}, ["spec.properties[timer.config.interval]"]),
        ({"properties": {"some.other.property": "soon"}}, []),
        ({"taints": [{"key": "a b", "effect": "NoSchedule"}]}, ["spec.taints[0].key"]),
        ({"taints": [{"key": "dedicated", "value": "x y", "effect": "NoSchedule"}]}, ["spec.taints[0].value"]),
    ],
)
def test_faults_of_nodes(spec: dict[str, Any], expected: list[str]) -> None:
    assert paths(make_edgenode(**spec)) == expected


def test_counters_only_grow() -> None:
    assert paths(make_edgenode(rebootCounter=2), make_edgenode(rebootCounter=1)) == []
    assert paths(make_edgenode(rebootCounter=1), make_edgenode(rebootCounter=2)) == ["spec.rebootCounter"]
    assert paths(make_edgenode(), make_edgenode(shutdownCounter=1)) == ["spec.shutdownCounter"]


def test_memory_for_apps_is_zero_until_the_device_has_told() -> None:
    assert allocatable_memory_bytes(make_edgenode()) == 0
    assert allocatable_memory_bytes(make_edgenode(status={"allocatable": {"memory": "1Gi"}})) == 1 << 30
