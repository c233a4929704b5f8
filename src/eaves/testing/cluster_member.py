"""A member of a cluster in contract tests: :mod:`eaves.testing.cluster_runner` on a machine, its config, and what it says."""

from __future__ import annotations

import json
import secrets
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from eaves.node.instance import Instance
from eaves.node.observed import ClusterStatus
from eaves.node.observed_cluster import ClusterState
from eaves.testing.daemons import run_program, wait_for
from eaves.testing.k3s import Release
from eaves.testing.k3s_machine import LASTING, Machine, end_pods
from eaves.wire.pb.config.devcommon_pb2 import UUIDandVersion
from eaves.wire.pb.config.devconfig_pb2 import EdgeDevConfig
from eaves.wire.pb.config.edge_node_cluster_pb2 import (
    CLUSTER_TYPE_K3S_BASE,
    HA_SCHEME_K3S_EMBEDDED,
    EdgeNodeCluster,
)
from eaves.wire.pb.config.storage_pb2 import DatastoreConfig
from eaves.wire.pb.eaves.cluster_pb2 import ClusterExtension, ClusterSecrets
from eaves.wire.pb.eaves.extension_pb2 import AppSecrets
from eaves.wire.pb.evecommon.acipherinfo_pb2 import CipherBlock, EncryptionBlock

CLUSTER_ID = "60000000-0000-4000-8000-000000000001"
DISABLE = ("traefik", "servicelb", "metrics-server", "local-storage")
START_LIMIT_S = 400.0
API_LIMIT_S = 60.0


class ClusterMember:
    """One node. :meth:`tell` its cluster, :meth:`start`, :meth:`wait`."""

    def __init__(self, machine: Machine, release: Release) -> None:
        self.machine = machine
        self.release = release
        self.folder = machine.folder / "node"
        self.folder.mkdir(parents=True)
        self.instance = f"k{secrets.token_hex(4)}"
        argv = [sys.executable, "-m", "eaves.testing.cluster_runner", str(self.folder), self.instance]
        self.daemon = machine.daemon("node", argv)

    @property
    def root(self) -> Path:
        """K3s's folder of the cluster."""
        return self.folder / "state" / "k3s" / CLUSTER_ID

    def tell(
        self,
        *,
        join: str = "",
        is_worker: bool = False,
        token: str = "join-token",
        secrets_of: ClusterSecrets | None = None,
        release: Release | None = None,
        datastores: Sequence[DatastoreConfig] = (),
        bundles: Sequence[Path] = (),
        **extension: Any,
    ) -> None:
        """A config in which it is a member; without ``join`` it makes the cluster. ``extension``: fields of ClusterExtension.

        ``bundles``: archives of images beside the release's own.
        """
        release = release or self.release
        block = EncryptionBlock(cluster_token=token, eaves=AppSecrets(cluster=secrets_of))
        fields: dict[str, Any] = {
            "name": "shop",
            "version": release.version,
            "binary_image_id": f"binary-{release.version}",
            "bundle_image_ids": [f"images-{release.version}", *(bundle.name for bundle in bundles)],
            "disable": DISABLE,
            "node_name": self.machine.name,
            **extension,
        }
        pins = {f"binary-{release.version}": str(release.program), f"images-{release.version}": str(release.images)}
        pins |= {bundle.name: str(bundle) for bundle in bundles}
        cluster = EdgeNodeCluster(
            cluster_name="shop",
            cluster_id=CLUSTER_ID,
            cluster_interface="eth0",
            cluster_ip_prefix=f"{self.machine.address}/24",
            is_worker_node=is_worker,
            join_server_ip=join or self.machine.address,
            encrypted_cluster_token=CipherBlock(cipherData=block.SerializeToString()),
            eaves=ClusterExtension(**fields),
        )
        self.write(EdgeDevConfig(id=UUIDandVersion(version="1"), cluster=cluster, datastores=datastores), pins)

    def tell_as_eve(self, *, token: str = "join-token") -> None:
        """The public fields alone, as a controller writes them that knows nothing of Eaves; the program is the machine's own."""
        (self.folder / "own_binary").write_text(str(self.release.program))
        block = EncryptionBlock(cluster_token=token)
        cluster = EdgeNodeCluster(
            cluster_name="shop",
            cluster_id=CLUSTER_ID,
            cluster_interface="eth0",
            cluster_ip_prefix=f"{self.machine.address}/24",
            join_server_ip=self.machine.address,
            encrypted_cluster_token=CipherBlock(cipherData=block.SerializeToString()),
            cluster_type=CLUSTER_TYPE_K3S_BASE,
            ha_scheme=HA_SCHEME_K3S_EMBEDDED,
        )
        self.write(EdgeDevConfig(id=UUIDandVersion(version="1"), device_name=self.machine.name, cluster=cluster), {})

    def tell_nothing(self) -> None:
        """A config without any cluster."""
        self.write(EdgeDevConfig(id=UUIDandVersion(version="2")), {})

    def write(self, config: EdgeDevConfig, pins: dict[str, str]) -> None:
        for name, data in (("pins.json", json.dumps(pins).encode()), ("config.pb", config.SerializeToString())):
            new = self.folder / f".{name}"
            new.write_bytes(data)
            new.replace(self.folder / name)

    def status(self) -> ClusterStatus | None:
        try:
            found = msgspec.json.decode((self.folder / "status.json").read_bytes(), type=list[ClusterStatus])
        except FileNotFoundError:
            return None
        return found[0] if found else None

    def start(self) -> None:
        """What an earlier daemon said last is not taken for a word of this one."""
        (self.folder / "status.json").unlink(missing_ok=True)
        self.daemon.start()

    def wait_state(self, state: ClusterState, limit_s: float = START_LIMIT_S) -> ClusterStatus:
        self.daemon.wait(f"state {state} ({self.describe})", lambda: self.is_in(state), limit_s)
        status = self.status()
        assert status is not None
        return status

    def wait_departure(self, limit_s: float = 120.0) -> None:
        """Until it has no membership any more; a daemon that has not looked yet tells of none either."""
        record = self.folder / "state" / "cluster.json"
        self.daemon.wait("departure", lambda: not record.exists() and self.status() is None, limit_s)

    def is_in(self, state: ClusterState) -> bool:
        status = self.status()
        return status is not None and status.state is state

    def describe(self) -> str:
        return str(self.status())

    def k3s_pid(self) -> int:
        """0 = it was never started."""
        try:
            return int(json.loads((self.folder / "run" / "k3s" / CLUSTER_ID / "state.json").read_text())["pid"])
        except FileNotFoundError:
            return 0

    def kubectl(self, *arguments: str, check: bool = True, stdin: str = "") -> str:
        argv = [*self.machine.prefix, str(self.release.program), "kubectl", *arguments]
        return run_program(argv, stdin=stdin, environment={"KUBECONFIG": str(self.root / "k3s.yaml")}, check=check)

    def get(self, *arguments: str) -> str:
        """What ``kubectl get`` answers, as soon as the API does: on a busy machine it misses a moment now and then."""

        answers: list[str] = []
        problems: list[str] = [""]

        def ask() -> bool:
            try:
                answers.append(self.kubectl("get", *arguments))
            except AssertionError as error:
                problems.append(str(error))
            return bool(answers)

        wait_for("the API", ask, API_LIMIT_S, lambda: problems[-1])
        return answers[0]

    def lose_disk(self) -> None:
        """The machine comes back as a blank one under its old address: nothing runs, nothing is left of the node or of K3s."""
        self.close()
        self.machine.cut_power()
        for place in LASTING:
            for entry in self.machine.path(place).iterdir():
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        for name in ("state", "run"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        (self.folder / "status.json").unlink(missing_ok=True)

    def close(self) -> None:
        """Leave nothing, whatever state a failed test left it in."""
        if self.daemon.is_running:
            self.daemon.kill()
        end_pods(Instance(self.instance))

    def k3s_log(self) -> str:
        path = self.folder / "log.txt"
        return path.read_text() if path.exists() else ""
