"""The record of a membership, and what a node without one spends on it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from eaves.kit.errors import EavesError
from eaves.node.clusters.breakglass import load_admin_kubeconfig, save_private
from eaves.node.clusters.errors import ClusterError
from eaves.node.clusters.membership import LIMIT_RESTART_S, Membership, has_data
from eaves.node.clusters.model import OrdersDone
from eaves.node.clusters.preparing import Preparer
from eaves.node.clusters.slot import ClusterSlot
from eaves.node.clusters.tokens import rotate_token
from eaves.node.desired.cluster_model import ClusterDatastore, ClusterOrders, DesiredCluster
from eaves.node.desired.model import DesiredNode
from eaves.node.desired.secret import Secret
from eaves.node.images.ways import Way, WebProxy
from eaves.node.instance import Instance
from eaves.node.observed import Observations


def want_membership(folder: Path) -> Membership:
    instance = Instance("test", folder / "state", folder / "run")
    instance.prepare()
    return Membership(instance, find_pin=lambda _: None, ports=(), own_binary="", proxies={}, status_port=0)


def want_preparer(folder: Path, ways: Sequence[Way | EavesError] = (), **proxies: str) -> Preparer:
    instance = Instance("test", folder / "state", folder / "run")
    rest = list(ways)

    async def find_way() -> Way:
        way = rest.pop(0)
        if isinstance(way, EavesError):
            raise way
        return way

    return Preparer(instance, find_pin=lambda _: None, own_binary="", proxies=proxies, find_way=find_way)


def named_proxies(preparer: Preparer) -> tuple[str | None, str]:
    """That for TLS, and what NO_PROXY has beside private networks."""
    environment = preparer.environment()
    return environment.get("HTTPS_PROXY"), environment.get("NO_PROXY", "").partition(".cluster.local")[2]


async def test_k3s_starts_with_the_proxies_of_the_uplink_in_use(tmp_path: Path) -> None:
    named = WebProxy((("HTTPS_PROXY", "http://own:2"), ("NO_PROXY", "shop.example")))
    bare = WebProxy((("NO_PROXY", "shop.example"),))
    gone = EavesError("no uplink", code="NoUplink")
    preparer = want_preparer(tmp_path, [Way(), Way(proxy=named), gone, Way(proxy=bare)], HTTPS_PROXY="http://node:1")
    assert named_proxies(preparer) == ("http://node:1", "")
    found = []
    for _ in range(4):
        await preparer.learn_proxies()
        found.append(named_proxies(preparer))
    # The settings' own where the uplink has no word on it; the former ones while there is no uplink.
    assert found == [
        ("http://node:1", ""),
        ("http://own:2", ",shop.example"),
        ("http://own:2", ",shop.example"),
        (None, ""),
    ]


async def test_a_crash_while_the_clock_was_months_ahead_is_not_waited_out_for_months(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    membership = want_membership(tmp_path)
    await membership.update(id="c", name="shop")
    nobody = {"pid": 1 << 30, "ticks": 1, "monitor_pid": 1 << 30, "monitor_ticks": 1, "started_at": 4e9}
    membership.own.run.mkdir(parents=True)
    (membership.own.run / "state.json").write_text(json.dumps(nobody))
    with monkeypatch.context() as ahead:
        ahead.setattr(time, "time", lambda: 4e9)
        view = await membership.look(None)
        assert view.start_after > view.now
    view = await membership.look(None)
    assert view.start_after < view.now + 2 * LIMIT_RESTART_S


async def test_changes_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    membership = want_membership(tmp_path)
    await membership.update(id="c", name="shop", is_server=True)
    await asyncio.gather(
        membership.update(has_been_ready=True),
        membership.update(last_scheduled_at=5.0),
        membership.note_done(snapshot=3),
    )
    again = want_membership(tmp_path)
    await again.open()
    assert (again.record.has_been_ready, again.record.last_scheduled_at) == (True, 5.0)
    assert again.record.done == OrdersDone(snapshot=3)


async def test_a_token_that_a_killed_daemon_made_known_is_not_made_known_again(tmp_path: Path) -> None:
    membership = want_membership(tmp_path)
    await membership.update(id="c", name="shop", is_server=True)
    orders = ClusterOrders(rotate_token=1)
    cluster = DesiredCluster(
        *("c", "shop", "a", True, "", "10.0.0.1", 24, "10.0.0.1", Secret("new")),
        former_token=Secret("old"),
        orders=orders,
    )
    token = membership.own.data / "server" / "token"
    token.parent.mkdir(parents=True)
    # K3s is not asked: there is neither a server nor a program that could be.
    token.write_text(f"K10{'a' * 64}::server:new\n")
    await rotate_token(membership, cluster)
    assert membership.record.done.rotate_token == 1


async def test_after_a_departure_nobody_writes_a_record(tmp_path: Path) -> None:
    membership = want_membership(tmp_path)
    await membership.update(last_scheduled_at=5.0)
    assert not (tmp_path / "state" / "engine" / "cluster.json").exists()


def test_a_cluster_without_a_program_is_told_with_the_remedy(tmp_path: Path) -> None:
    cluster = DesiredCluster("c", "shop", "a", True, "", "10.0.0.1", 24, "10.0.0.1", Secret("t"))
    with pytest.raises(ClusterError) as raised:
        want_preparer(tmp_path).find_program(cluster)
    assert raised.value.code == "ProgramMissing"
    assert "k3s_binary" in raised.value.resolution


@pytest.mark.parametrize(
    ("datastore", "path"),
    [(ClusterDatastore.EMBEDDED_ETCD, "etcd/member/x"), (ClusterDatastore.SQLITE, "state.db")],
)
def test_data_are_seen_by_their_files(tmp_path: Path, datastore: ClusterDatastore, path: str) -> None:
    membership = want_membership(tmp_path)
    cluster = DesiredCluster("c", "shop", "a", True, "", "10.0.0.1", 24, "10.0.0.1", Secret("t"), datastore)
    folders = membership.folders("c")
    assert not has_data(folders, cluster)
    file = folders.data / "server" / "db" / path
    file.parent.mkdir(parents=True)
    file.write_bytes(b"")
    assert has_data(folders, cluster)


async def test_a_node_without_a_cluster_loads_nothing_for_it(tmp_path: Path) -> None:
    instance = Instance("test", tmp_path / "state", tmp_path / "run")
    instance.prepare()
    slot = ClusterSlot(instance, Observations(), find_pin=lambda _: None)
    await slot.open()
    slot.set_desired(DesiredNode("d", "1", "hash"))
    assert slot.clusters is None
    assert await slot.usage() is None
    with pytest.raises(ClusterError, match="no member"):
        slot.api("c")
    await slot.teardown()


def test_the_engine_imports_no_part_of_it() -> None:
    code = (
        "import eaves.node.manager, sys; "
        "print([name for name in ('yaml', 'sqlite3', 'http.client', 'eaves.node.clusters.service') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_kubeconfig_for_emergencies(tmp_path: Path) -> None:
    instance = Instance("test", tmp_path / "state", tmp_path / "run")
    instance.prepare()
    with pytest.raises(ClusterError, match="no member"):
        load_admin_kubeconfig(instance)
    record = instance.state_dir / "cluster.json"
    record.write_text('{"id": "c", "name": "shop", "is_server": false}')
    with pytest.raises(ClusterError, match="agent of cluster shop"):
        load_admin_kubeconfig(instance)
    record.write_text('{"id": "c", "name": "shop", "is_server": true}')
    with pytest.raises(ClusterError, match="not written its kubeconfig"):
        load_admin_kubeconfig(instance)
    (instance.k3s_dir / "c").mkdir()
    (instance.k3s_dir / "c" / "k3s.yaml").write_text("kind: Config\n")
    assert load_admin_kubeconfig(instance) == "kind: Config\n"
    save_private(tmp_path / "sub" / "config", "kind: Config\n")
    assert (tmp_path / "sub" / "config").stat().st_mode & 0o777 == 0o600
