"""A PostgreSQL of Debian's on a :class:`eaves.testing.k3s_machine.Machine`, for clusters that keep their state in one."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from eaves.testing.k3s_machine import Machine

USER = "k3s"
PORT = 5432
_USER_OF_SYSTEM = "postgres"


class Postgres:
    """Serves from :meth:`start` until :meth:`close`. PostgreSQL does not run as root, so its files are another user's."""

    def __init__(self, machine: Machine, password: str) -> None:
        self.endpoint = f"postgres://{USER}:{password}@{machine.address}:{PORT}/k3s?sslmode=disable"
        self._folder = Path(tempfile.mkdtemp(prefix="eaves-postgres.", dir="/var/tmp"))
        data = self._folder / "data"
        secret = self._folder / "password"
        secret.write_text(password)
        for path in (self._folder, secret):
            shutil.chown(path, _USER_OF_SYSTEM, _USER_OF_SYSTEM)
        as_user = ["setpriv", f"--reuid={_USER_OF_SYSTEM}", f"--regid={_USER_OF_SYSTEM}", "--clear-groups"]
        programs = _find_programs()
        machine.run(
            *as_user,
            str(programs / "initdb"),
            f"--pgdata={data}",
            f"--username={USER}",
            f"--pwfile={secret}",
            "--auth=scram-sha-256",
            "--no-sync",
        )
        argv = [*as_user, str(programs / "postgres"), "-D", str(data), "-h", machine.address, "-p", str(PORT)]
        # A test's data need not outlive a power cut.
        argv += ["-k", str(self._folder), "-c", "fsync=off"]
        hosts = data / "pg_hba.conf"
        hosts.write_text("host all all all scram-sha-256\n")
        self.daemon = machine.daemon("postgres", argv)

    def start(self) -> None:
        self.daemon.start()
        self.daemon.wait("the database", lambda: "ready to accept connections" in self.daemon.log.read_text(), 60)

    def close(self) -> None:
        if self.daemon.is_running:
            # Asked to stop, it would wait for its clients.
            self.daemon.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


def _find_programs() -> Path:
    """Debian keeps those of each version in a folder of its own. The newest."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    assert found, f"no PostgreSQL: apt install postgresql (PATH={os.environ.get('PATH')})"
    return found[-1].parent
