"""Small pure parts: programs, addresses, certificates, snapshots, leases, how K3s ended."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from eaves.node.clusters import addresses, certificates
from eaves.node.clusters.backups import BackupState, Found, Shipped, list_surplus, render_snapshots
from eaves.node.clusters.certificates import DAY_S, Validity
from eaves.node.clusters.errors import ClusterError
from eaves.node.clusters.kubeapi import parse_kubeconfig
from eaves.node.clusters.lease import LeaseSeen, may_take, parse_lease
from eaves.node.clusters.logs import find_severity
from eaves.node.clusters.program import Bundle, place_bundles, place_program, remove_programs, want_bundle_name
from eaves.node.clusters.running import explain_end, find_last_words
from eaves.node.networks.model import Port
from eaves.node.vms.state import RunEnd


@pytest.mark.parametrize(
    ("reference", "head", "suffix"),
    [
        ("k3s-airgap-images-amd64.tar.zst", b"", ".tar.zst"),
        ("v1/k3s-airgap-images-amd64.tar.gz@sha256:aa", b"", ".tar.gz"),
        ("images", b"\x28\xb5\x2f\xfd", ".tar.zst"),
        ("images", b"\x1f\x8b\x08\0", ".tar.gz"),
        ("images", b"tar?", ".tar"),
    ],
)
def test_a_bundle_is_named_so_that_k3s_takes_it(reference: str, head: bytes, suffix: str) -> None:
    name = want_bundle_name(Bundle("/x", "sha256:" + "ab" * 32, reference), head)
    assert name == f"eaves-{'ab' * 8}{suffix}"


def test_bundles_and_programs_follow_the_release(tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(b"\x1f\x8b\x08\0")
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "mine.tar").write_text("the operator's own")
    place_bundles([Bundle(str(blob), "sha256:" + "1" * 64, "a")], folder)
    place_bundles([Bundle(str(blob), "sha256:" + "2" * 64, "a")], folder)
    assert {path.name for path in folder.iterdir()} == {"mine.tar", f"eaves-{'2' * 16}.tar.gz"}
    for version in ("v1", "v2"):
        place_program(str(blob), tmp_path / "bin" / version / "k3s")
    assert os.access(tmp_path / "bin" / "v2" / "k3s", os.X_OK)
    remove_programs(tmp_path, [str(tmp_path / "bin" / "v2" / "k3s")])
    assert [path.name for path in (tmp_path / "bin").iterdir()] == ["v2"]


PORTS = (Port("lan", "eth1", 1, ("site",)), Port("wan", "eth0", 0))


@pytest.mark.parametrize(
    ("label", "expected"),
    [("lan", "eth1"), ("site", "eth1"), ("uplink", "eth0"), ("", "eth0"), ("br7", "br7"), ("none", "")],
)
def test_the_port_that_a_label_means(label: str, expected: str) -> None:
    links = ("lo", "eth0", "eth1", "br7")
    assert addresses.find_interface_name(label, PORTS, links, "wlan0") == expected


def test_without_labels_the_default_route_decides() -> None:
    assert addresses.find_interface_name("uplink", (), ("wlan0",), "wlan0") == "wlan0"
    assert addresses.find_interface_name("other", (), ("wlan0",), "wlan0") == ""


def test_the_address_of_a_shared_cable_is_on_its_bridge() -> None:
    shown = '[{"ifname":"eth0","master":"eaves-eth0"},{"ifname":"eth1","master":"br7"},{"ifname":"eaves-eth0"},{"ifname":"br7"}]'
    links = addresses.parse_interfaces(shown)
    assert [addresses.follow_bridge(link, links).name for link in links.values()] == [
        "eaves-eth0",
        "eth1",
        "eaves-eth0",
        "br7",
    ]
    assert addresses.has_moved("no-such-link")
    assert not addresses.has_moved("lo")


def test_addresses_of_interfaces() -> None:
    shown = '[{"ifname":"eth0","addr_info":[{"local":"10.0.0.1","prefixlen":24}]},{"ifname":"x","addr_info":[{}]}]'
    found = addresses.parse_interfaces(shown)
    assert found["eth0"].has("10.0.0.1")
    assert not found["eth0"].has("10.0.0.2")
    assert found["x"].addresses == ()


def test_an_announcement_says_where_the_address_is_now() -> None:
    frame = addresses.render_announcement(bytes.fromhex("020000000001"), "10.0.0.9")
    assert frame[:6] == b"\xff" * 6
    assert frame[12:14] == b"\x08\x06"
    assert frame[28:32] == frame[38:42] == bytes((10, 0, 0, 9))
    assert len(frame) == 42


def test_certificates_are_renewed_in_time_by_one_member_after_the_other() -> None:
    validity = Validity(0, 365 * DAY_S)
    days = [
        min(day for day in range(365) if certificates.is_renewal_due(validity, 0, day * DAY_S, name, is_ready=True))
        for name in "abcdef"
    ]
    assert min(days) >= 305
    assert max(days) <= 326
    assert len(set(days)) > 1


def test_a_renewal_that_did_not_help_is_tried_once_a_day() -> None:
    assert not certificates.is_renewal_due(Validity(0, 10.0), 1000.0, 1000.0 + DAY_S / 2, "a", is_ready=True)
    assert certificates.is_renewal_due(Validity(0, 10.0), 1000.0, 1000.0 + 2 * DAY_S, "a", is_ready=True)
    assert not certificates.is_renewal_due(Validity(), 0, 9e9, "a", is_ready=True)


def test_who_is_not_ready_is_restarted_only_when_that_may_be_why() -> None:
    validity = Validity(0, 365 * DAY_S)
    assert not certificates.is_renewal_due(validity, 0, 364 * DAY_S, "a", is_ready=False)
    assert certificates.is_renewal_due(validity, 0, 366 * DAY_S, "a", is_ready=False)


def test_a_clock_that_jumps_months_ahead_renews_once_and_its_way_back_is_borne() -> None:
    validity, started_at, now = Validity(0, 365 * DAY_S), 30 * DAY_S, 430 * DAY_S
    assert certificates.is_expired(validity, now)
    assert certificates.is_renewal_due(validity, started_at, now, "a", is_ready=True)
    # Restarted at the time that the clock says, K3s has renewed them; they begin when the cluster's authority does.
    renewed = Validity(0, now + 365 * DAY_S)
    assert not any(
        certificates.is_renewal_due(renewed, now, now + day * DAY_S, "a", is_ready=True) for day in range(300)
    )
    # The clock is set right again: nothing is too early, expired or due.
    right = 31 * DAY_S
    assert not certificates.is_clock_behind(renewed, right)
    assert not certificates.is_expired(renewed, right)
    assert not certificates.is_renewal_due(renewed, now, right, "a", is_ready=True)


def test_expired_certificates_and_a_clock_that_is_behind() -> None:
    validity = Validity(10 * DAY_S, 20 * DAY_S)
    assert certificates.is_expired(validity, 21 * DAY_S)
    assert not certificates.is_expired(validity, 15 * DAY_S)
    assert certificates.is_clock_behind(validity, 8 * DAY_S)
    assert not certificates.is_clock_behind(validity, 9.5 * DAY_S)
    assert not certificates.is_clock_behind(Validity(), 0)


def test_scheduled_snapshots_are_pruned_and_ordered_ones_stay() -> None:
    names = ["scheduled-a-3", "scheduled-b-1", "scheduled-a-2.zip", "ordered-1-a-0", "etcd-snapshot-a-0", "notes.txt"]
    assert list_surplus(names, 2, 10.0) == ["scheduled-b-1"]
    assert list_surplus(names, 0, 10.0) == []


def test_snapshots_of_a_clock_that_was_ahead_do_not_crowd_out_those_of_now() -> None:
    ahead, now = [f"scheduled-a-{stamp}" for stamp in (400 * 86400, 401 * 86400)], "scheduled-a-90000"
    assert list_surplus([*ahead, now], 2, 90000.0) == ahead[:1]
    assert list_surplus([*ahead, now], 2, 402 * 86400.0) == [now]


def test_snapshots_here_and_there() -> None:
    state = BackupState({"scheduled-a-1": Shipped(5, 1.0), "scheduled-a-2": Shipped(6, 2.0)})
    found = render_snapshots(
        [Found("scheduled-a-2", 6, 2.0), Found("ordered-1-a-3", 7, 3.0)], state, {"ordered-1-a-3": "no"}
    )
    assert [(one.name, one.is_shipped, one.message, one.is_scheduled) for one in found] == [
        ("scheduled-a-1", True, "", True),
        ("scheduled-a-2", True, "", True),
        ("ordered-1-a-3", False, "no", False),
    ]


def test_a_lease_is_taken_when_it_is_nobody_s_mine_or_was_not_renewed() -> None:
    theirs = LeaseSeen("b", "t", 15)
    assert may_take(LeaseSeen(), "a", 0)
    assert may_take(LeaseSeen("a"), "a", 0)
    assert not may_take(theirs, "a", 15)
    assert may_take(theirs, "a", 15.1)
    assert parse_lease({"spec": {"holderIdentity": "b", "renewTime": "t", "leaseDurationSeconds": 15}}) == theirs
    assert parse_lease({}) == LeaseSeen()


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ('time="x" level=fatal msg="starting kubernetes: bad \\"token\\""\n', 'starting kubernetes: bad "token"'),
        ("one\ntwo\n", "two"),
        ('level=error msg="first"\nlater\n', "first"),
        ("", ""),
    ],
)
def test_the_last_words_of_k3s(output: str, expected: str) -> None:
    assert find_last_words(output) == expected


def test_how_k3s_ended() -> None:
    assert explain_end(RunEnd(1.0, 1, (), 'level=fatal msg="no"')) == "K3s ended with exit status 1: no"
    assert explain_end(RunEnd(1.0, -9)) == "K3s was killed by signal 9"
    assert "nobody saw" in explain_end(None)


@pytest.mark.parametrize(
    ("line", "severity"),
    [
        ('time="2026" level=warning msg="a"', "warning"),
        ("E0131 10:00:00 x.go:1] bad", "error"),
        ("W0131 10:00:00 x.go:1] hm", "warning"),
        ("plain", "info"),
    ],
)
def test_severity_of_a_line(line: str, severity: str) -> None:
    assert find_severity(line) == severity


def test_a_kubeconfig_that_is_none_is_told_without_its_content() -> None:
    with pytest.raises(ClusterError) as raised:
        parse_kubeconfig(b"users: [{user: {client-key-data: c2VjcmV0}}]")
    assert "c2VjcmV0" not in str(raised.value)
