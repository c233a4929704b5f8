"""The embedded etcd: its member on this server, joining, snapshots. Everything goes through etcd's own programs."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.k3s import clock, log, programs
from tests.k3s.children import Children
from tests.k3s.options import Options
from tests.k3s.paths import DataDir, write

CLIENT_PORT = 2379
PEER_PORT = 2380
_REMOVED = "removed from the cluster"
Object = dict[str, Any]


class EtcdError(Exception):
    """etcdctl failed."""


class Etcd:
    """``address`` is this server's own."""

    def __init__(self, data: DataDir, address: str, node_name: str) -> None:
        self._data = data
        self._address = address
        self._name_file = data.etcd / "name"
        self.node_name = node_name
        self._log_begin = 0

    @property
    def name(self) -> str:
        """Of the member: the node's and a suffix, which a member that was removed does not share with its next life."""
        if not self._name_file.exists():
            write(self._name_file, f"{self.node_name}-{secrets.token_hex(4)}")
        return self._name_file.read_text()

    @property
    def has_data(self) -> bool:
        return (self._data.etcd / "member" / "wal").exists()

    @property
    def peer_url(self) -> str:
        return f"https://{self._address}:{PEER_PORT}"

    def start(self, children: Children, options: Options, initial: str = "", *, is_forced_new: bool = False) -> None:
        """``initial`` is the cluster as ``name=url,…`` that a joining member is given; empty for a cluster of its own."""
        tls = self._data.tls / "etcd"
        own = f"{self.name}={self.peer_url}"
        client = f"https://127.0.0.1:{CLIENT_PORT},https://{self._address}:{CLIENT_PORT}"
        arguments = {
            "name": self.name,
            "data-dir": self._data.etcd,
            "listen-client-urls": client,
            "advertise-client-urls": f"https://{self._address}:{CLIENT_PORT}",
            "listen-peer-urls": f"https://127.0.0.1:{PEER_PORT},{self.peer_url}",
            "initial-advertise-peer-urls": self.peer_url,
            "initial-cluster": initial or own,
            "initial-cluster-state": "existing" if initial else "new",
            "cert-file": tls / "server-client.crt",
            "key-file": tls / "server-client.key",
            "trusted-ca-file": tls / "server-ca.crt",
            "client-cert-auth": "true",
            "peer-cert-file": tls / "peer-server-client.crt",
            "peer-key-file": tls / "peer-server-client.key",
            "peer-trusted-ca-file": tls / "peer-ca.crt",
            "peer-client-cert-auth": "true",
            "heartbeat-interval": "500",
            "election-timeout": "5000",
            "snapshot-count": "10000",
        }
        argv = [f"--{name}={value}" for name, value in arguments.items()]
        argv += [f"--{value}" for value in options.list("etcd-arg")]
        if is_forced_new:
            argv.append("--force-new-cluster")
        self._log_begin = len(children.load_log("etcd"))
        children.start("etcd", programs.program("etcd", "server"), *argv)

    def was_removed(self, children: Children) -> bool:
        """Whether the etcd that was started last ended because the others took it out."""
        return _REMOVED in children.load_log("etcd")[self._log_begin :]

    def run(self, *arguments: str, endpoints: str = "", limit_s: float = 60.0, stdin: str = "") -> str:
        """``etcdctl``. Raises EtcdError."""
        tls = self._data.tls / "etcd"
        argv = [programs.program("etcd", "etcdctl"), "--cacert", str(tls / "server-ca.crt")]
        argv += ["--cert", str(tls / "client.crt"), "--key", str(tls / "client.key")]
        argv += ["--endpoints", endpoints or f"https://127.0.0.1:{CLIENT_PORT}", "--command-timeout", "10s"]
        try:
            done = subprocess.run(
                [*argv, *arguments], input=stdin, capture_output=True, text=True, timeout=limit_s, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise EtcdError(f"etcdctl {arguments[0]} did not end") from error
        if done.returncode != 0:
            raise EtcdError(
                (done.stderr or done.stdout).strip().splitlines()[-1][:300] if done.stderr or done.stdout else "etcdctl"
            )
        return done.stdout

    def is_healthy(self) -> bool:
        try:
            self.run("endpoint", "health", limit_s=15)
        except EtcdError:
            return False
        return True

    def members(self, endpoints: str = "") -> list[Object]:
        """As etcd lists them: ``ID``, ``name`` (none before its first start), ``peerURLs``, ``clientURLs``, ``isLearner``."""
        found: list[Object] = json.loads(self.run("member", "list", "-w", "json", endpoints=endpoints))["members"]
        return found

    def remove(self, member: Object) -> None:
        self.run("member", "remove", f"{member['ID']:x}")

    def join(self, endpoints: str, limit_s: float = 300.0) -> str:
        """Adds this server as a learner to the cluster at ``endpoints``; answers the initial cluster for :meth:`start`.

        Fatal when the cluster has a member of this node already, such as that of a server which came back with an empty disk.
        """
        end = time.monotonic() + limit_s
        while True:
            try:
                members = self.members(endpoints)
                if any(self._is_other_life(member) for member in members):
                    self._name_file.unlink(missing_ok=True)
                    log.fatal("ETCD join failed: duplicate node name found, please use a unique name for this node")
                if not any(self.peer_url in m["peerURLs"] and m.get("name") in (None, "", self.name) for m in members):
                    self.run(
                        "member", "add", self.name, "--learner", f"--peer-urls={self.peer_url}", endpoints=endpoints
                    )
                members = self.members(endpoints)
                break
            except EtcdError as error:
                if time.monotonic() > end:
                    log.fatal(f"ETCD join failed: {error}")
                log.info(f"Waiting for other members to finish joining etcd cluster: {error}")
                time.sleep(1)
        known = [m for m in members if m.get("name") or self.peer_url in m["peerURLs"]]
        return ",".join(f"{m.get('name') or self.name}={url}" for m in known for url in m["peerURLs"])

    def _is_other_life(self, member: Object) -> bool:
        name = member.get("name") or ""
        return name != self.name and name.rpartition("-")[0] == self.node_name

    def promote(self, endpoints: str) -> bool:
        """Makes a learner that has caught up a voter; True when it is one."""
        try:
            mine = [m for m in self.members(endpoints) if self.peer_url in m["peerURLs"]]
            if mine and mine[0].get("isLearner"):
                self.run("member", "promote", f"{mine[0]['ID']:x}", endpoints=endpoints)
        except EtcdError:
            return False
        return True

    def restore(self, snapshot: Path) -> None:
        """Puts a snapshot in the place of the database, which is kept under another name."""
        keep_old(self._data)
        name = f"{self.node_name}-{secrets.token_hex(4)}"
        argv = [programs.program("etcd", "etcdutl"), "snapshot", "restore", str(snapshot)]
        argv += ["--name", name, "--data-dir", str(self._data.etcd), "--initial-advertise-peer-urls", self.peer_url]
        argv += ["--initial-cluster", f"{name}={self.peer_url}"]
        # Watchers must not be told of revisions that the restored cluster gives again.
        argv += ["--bump-revision", "1000000000", "--mark-compacted"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            log.fatal(f"failed to restore {snapshot}: {done.stderr.strip().splitlines()[-1][:300]}")
        write(self._name_file, name)


def keep_old(data: DataDir) -> None:
    if data.etcd.exists():
        data.etcd.replace(data.database / f"etcd-old-{int(clock.seconds())}")
    shutil.rmtree(data.database / "etcd-tmp", ignore_errors=True)
