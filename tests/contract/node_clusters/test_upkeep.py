"""Certificates and tokens against a real K3s or its stand-in: rotated on order, renewed after they have expired, and a wrong clock."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from cryptography import x509

from eaves.node.observed_cluster import ClusterState
from eaves.testing.cluster_member import ClusterMember
from eaves.testing.expired_certificates import let_all_expire, list_ends
from eaves.wire.pb.eaves import cluster_pb2

from .conftest import MakeMember
from .test_backups import status_of
from .test_membership import as_member

pytestmark = pytest.mark.contract


def serial_of(node: ClusterMember) -> int:
    path = node.root / "data" / "server" / "tls" / "serving-kube-apiserver.crt"
    return x509.load_pem_x509_certificate(path.read_bytes()).serial_number


def is_rotated(node: ClusterMember, former: int) -> bool:
    try:
        return serial_of(node) != former
    except (FileNotFoundError, ValueError):
        return False


def has_all(data: Path) -> bool:
    """The API is ready before its own kubelet has fetched what it needs."""
    wanted = {f"agent/{name}.crt" for name in ("client-kubelet", "serving-kubelet", "client-kube-proxy")}
    try:
        return wanted <= {*list_ends(data)}
    except (FileNotFoundError, ValueError):
        return False


def test_certificates_on_order_and_after_months_offline(make_member: MakeMember) -> None:
    node = make_member()
    members = [as_member(node)]
    node.tell(is_leader=True, members=members)
    node.start()
    status = node.wait_state(ClusterState.READY)
    day_s = 86400
    now = datetime.datetime.now(datetime.UTC).timestamp()
    assert now + 300 * day_s < status.certificates_expire_at < now + 370 * day_s

    former = serial_of(node)
    node.tell(is_leader=True, members=members, orders=cluster_pb2.ClusterOrders(rotate_certificates=1))
    node.daemon.wait("other certificates", lambda: is_rotated(node, former), 180)
    node.wait_state(ClusterState.READY)
    assert status_of(node).done.rotate_certificates == 1

    # The power goes, and comes back when every certificate has been over for a month; no controller says anything.
    data = node.root / "data"
    node.daemon.wait("the kubelet's certificates too", lambda: has_all(data), 180)
    node.daemon.kill()
    node.machine.cut_power()
    ended = let_all_expire(data, data)
    assert {"server/tls/client-admin.crt", "server/tls/etcd/peer-server-client.crt", "agent/serving-kubelet.crt"} <= {
        *ended
    }
    assert max(list_ends(data).values()) < now
    node.start()
    assert node.wait_state(ClusterState.READY).certificates_expire_at > now + 300 * day_s


def test_a_new_token_is_made_known_and_used(make_member: MakeMember) -> None:
    node, agent = make_member(), make_member()
    members = [as_member(node), as_member(agent, is_server=False)]
    node.tell(is_leader=True, members=members, token="the-former-token")
    node.start()
    node.wait_state(ClusterState.READY)
    pid = node.k3s_pid()
    node.tell(
        is_leader=True,
        members=members,
        token="the-new-token",
        secrets_of=cluster_pb2.ClusterSecrets(former_token="the-former-token"),
        orders=cluster_pb2.ClusterOrders(rotate_token=1),
    )
    node.daemon.wait("the new token", lambda: status_of(node).done.rotate_token == 1, 120)
    node.daemon.wait("the restart", lambda: node.k3s_pid() not in (0, pid), 120)
    node.wait_state(ClusterState.READY)
    assert "the-new-token" in (node.root / "data" / "server" / "token").read_text()
    assert "the-new-token" not in Path(f"/proc/{node.k3s_pid()}/cmdline").read_text()

    agent.tell(join=node.machine.address, is_worker=True, token="the-new-token")
    agent.start()
    agent.wait_state(ClusterState.READY)
    everything = node.daemon.log.read_text() + node.k3s_log() + (node.folder / "status.json").read_text()
    assert "the-new-token" not in everything
    assert "the-former-token" not in everything
