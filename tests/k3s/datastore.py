"""Where a server's cluster lives: embedded etcd, or kine over SQLite or an external database, or an external etcd."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable
from typing import Any

from tests.k3s import bootstrap, clock, log, pki, programs, snapshots
from tests.k3s.children import Children
from tests.k3s.etcd import CLIENT_PORT, Etcd, EtcdError, keep_old
from tests.k3s.options import Options
from tests.k3s.paths import DataDir, socket_path, write
from tests.k3s.pki import AUTHORITIES

_SQLITE = "sqlite://{}?_journal=WAL&cache=shared&_busy_timeout=30000&_txlock=immediate"


class Datastore:
    """Which of them follows from the options and, as in K3s, from what is on disk already."""

    def __init__(self, data: DataDir, options: Options, address: str, node_name: str, children: Children) -> None:
        self._data = data
        self._options = options
        self._children = children
        self.etcd = Etcd(data, address, node_name)
        self._kine_socket = socket_path(data, "kine")
        self._endpoint = options.text("datastore-endpoint")
        self.has_etcd = not self._endpoint and (
            options.is_on("cluster-init")
            or bool(options.text("server"))
            or options.is_on("cluster-reset")
            or self.etcd.has_data
        )

    @property
    def has_data(self) -> bool:
        return self.etcd.has_data if self.has_etcd else (self._data.database / "state.db").exists()

    @property
    def has_peers(self) -> bool:
        """Other servers may share it, so that leaders are elected."""
        return self.has_etcd or bool(self._endpoint)

    @property
    def is_shared(self) -> bool:
        """Servers meet in it without joining each other."""
        return bool(self._endpoint)

    @property
    def _is_external_etcd(self) -> bool:
        return self._endpoint.startswith(("http://", "https://"))

    def check_first(self, password: str) -> None:
        """Fatal when this disk's cluster belongs to another token."""
        given = self._data.token.read_text() if self._data.token.exists() else ""
        if given and self.has_etcd and self.etcd.has_data and not given.strip().endswith(f":{password}"):
            log.fatal(
                "starting kubernetes: preparing server: failed to normalize server token; must be in format "
                "K10<CA-HASH>::<USERNAME>:<PASSWORD> or <PASSWORD>: token does not match the one that the datastore is encrypted with"
            )

    def start(self, peer: str = "") -> None:
        """``peer`` are client URLs of the cluster that this server joins."""
        if self._is_external_etcd:
            return
        if not self.has_etcd:
            self._start_kine()
            return
        if not peer or self.etcd.has_data:
            self.etcd.start(self._children, self._options)
            return
        initial = self.etcd.join(peer)
        self.etcd.start(self._children, self._options, initial)
        self._children.wait("etcd to take this member as a voter", lambda: self._promote(peer))

    def bury(self) -> None:
        """A member that was taken out starts without its data: it joins, or makes a cluster, as its options say."""
        if self._data.tombstone.exists():
            log.info("tombstone file has been detected, removing data dir to rejoin the cluster")
            keep_old(self._data)

    def note_removal(self) -> None:
        """When etcd has ended: leave word for the next start if this member was taken out."""
        if self.has_etcd and self.etcd.was_removed(self._children):
            write(self._data.tombstone, "")
            log.info("This node has been removed from the cluster - please restart k3s to rejoin the cluster")

    def is_healthy(self) -> bool:
        if self._is_external_etcd:
            return True
        return self.etcd.is_healthy() if self.has_etcd else self._kine_socket.exists()

    def share_bootstrap(self, password: str) -> None:
        """Of an external datastore: the first server's authorities and keys go into it, and every server takes what is there."""
        own = bootstrap.load_files(self._data)
        if all(f"tls/{name}.key" in own for name in AUTHORITIES):
            key, value = bootstrap.entry(own, password)
            # kine knows no plain put; when another server was first the key is there, and nothing happens.
            self.run("txn", stdin=f'mod("{key}") = "0"\n\nput {key} {value}\n\n\n')
        if found := bootstrap.load(self, password):
            bootstrap.write_files(self._data, found)

    def run(self, *arguments: str, stdin: str = "") -> str:
        """``etcdctl`` on an external datastore. Raises EtcdError."""
        endpoint = self._endpoint if self._is_external_etcd else f"unix://{self._kine_socket}"
        argv = [programs.program("etcd", "etcdctl"), "--endpoints", endpoint, "--command-timeout", "30s"]
        if self._is_external_etcd:
            for flag, option in (("cacert", "cafile"), ("cert", "certfile"), ("key", "keyfile")):
                if text := self._options.text(f"datastore-{option}"):
                    argv += [f"--{flag}", text]
        done = subprocess.run([*argv, *arguments], input=stdin, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            raise EtcdError(f"etcdctl {arguments[0]}: {done.stderr.strip()[-300:]}")
        return done.stdout

    def keep_bootstrap(self, password: str) -> None:
        """The authorities go into etcd once; a server whose keys differ from the cluster's takes those."""
        if not self.has_etcd:
            return
        found = bootstrap.load(self.etcd, password)
        if not found:
            bootstrap.save(self.etcd, self._data, password)

    def arguments(self) -> dict[str, str]:
        """What the API server needs to know."""
        if self.has_etcd:
            tls = self._data.tls / "etcd"
            files = {"cafile": "server-ca.crt", "certfile": "client.crt", "keyfile": "client.key"}
            return {
                "etcd-servers": f"https://127.0.0.1:{CLIENT_PORT}",
                **{f"etcd-{name}": str(tls / file) for name, file in files.items()},
            }
        if self._is_external_etcd:
            given = {name: self._options.text(f"datastore-{name}") for name in ("cafile", "certfile", "keyfile")}
            return {"etcd-servers": self._endpoint, **{f"etcd-{name}": file for name, file in given.items() if file}}
        return {"etcd-servers": f"unix://{self._kine_socket}"}

    def list_members(self) -> list[dict[str, Any]]:
        with contextlib.suppress(EtcdError, subprocess.SubprocessError):
            return self.etcd.members() if self.has_etcd else []
        return []

    def reset(self, password: str) -> int:
        """Makes this server the only member; with a snapshot, of its contents. Fatal for what cannot be."""
        data, snapshot = self._data, self._options.text("cluster-reset-restore-path")
        data.make_server()
        if data.reset_flag.exists():
            log.fatal(
                "Managed etcd cluster membership was reset, starting with --cluster-reset again: "
                f"delete {data.reset_flag} if this is desired"
            )
        if not snapshot and not self.etcd.has_data:
            log.fatal("etcd: cannot perform cluster-reset without existing etcd data")
        if snapshot:
            path = snapshots.find(data, snapshot)
            with snapshots.unpacked(path) as plain:
                self.etcd.restore(plain)
        given = password or (data.token.read_text().strip().rpartition(":")[2] if data.token.exists() else "")
        if not given:
            log.fatal("--token is required to restore a snapshot on a new host")
        # Whatever authorities there are let etcd start; the cluster's own are in its data.
        pki.make_authorities(data)
        pki.make_leaves(data, [self.etcd.peer_url.split("//")[1].rpartition(":")[0]])
        self.etcd.start(self._children, self._options, is_forced_new=not snapshot)
        self._children.wait("etcd", self.etcd.is_healthy)
        files = bootstrap.load(self.etcd, given)
        self._children.stop("etcd")
        bootstrap.write_files(data, files)
        for leaf in pki.LEAVES:
            (data.tls / f"{leaf.name}.crt").unlink(missing_ok=True)
        write(data.token, f"server:{given}\n")
        data.reset_flag.touch()
        log.info(
            "Managed etcd cluster membership has been reset, restart without --cluster-reset flag now. "
            "Backup and delete ${datadir}/server/db on each peer etcd server and rejoin the nodes"
        )
        return 0

    def follow_schedule(self, is_stopping: Callable[[], bool]) -> None:
        """Snapshots at the times of the schedule, looked at each minute."""
        options = self._options
        last = clock.now().replace(second=0, microsecond=0)
        while not is_stopping():
            time.sleep(1)
            now = clock.now().replace(second=0, microsecond=0)
            if now == last:
                continue
            last = now
            if snapshots.is_time(options.text("etcd-snapshot-schedule-cron"), now):
                with contextlib.suppress(EtcdError):
                    snapshots.save(self._data, self.etcd, options, options.text("etcd-snapshot-name"))
                    snapshots.prune(self._data, options, options.text("etcd-snapshot-name"), self.etcd.node_name)

    def _promote(self, peer: str) -> bool:
        """Not a moment before it has caught up; etcd says when."""
        return self.etcd.promote(peer) and self.etcd.is_healthy()

    def _start_kine(self) -> None:
        endpoint = self._endpoint or _SQLITE.format(self._data.database / "state.db")
        self._kine_socket.parent.mkdir(parents=True, exist_ok=True)
        self._kine_socket.unlink(missing_ok=True)
        argv = ["--listen-address", f"unix://{self._kine_socket}", "--metrics-bind-address", "0"]
        for name, option in (("ca-file", "cafile"), ("cert-file", "certfile"), ("key-file", "keyfile")):
            if self._options.text(f"datastore-{option}"):
                argv += [f"--{name}", self._options.text(f"datastore-{option}")]
        # It may hold a password: K3s has kine in its own process, where no command line shows it.
        self._children.start("kine", programs.program("kine", "kine"), *argv, environment={"KINE_ENDPOINT": endpoint})
