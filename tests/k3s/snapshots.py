"""Snapshots of the embedded etcd: taken, listed, pruned, found again; the command ``k3s etcd-snapshot``."""

from __future__ import annotations

import contextlib
import datetime
import json
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.k3s import clock, log
from tests.k3s.agent import name_node
from tests.k3s.etcd import Etcd, EtcdError
from tests.k3s.options import SNAPSHOT, Options, parse
from tests.k3s.paths import DataDir

_BANDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))


def run(argv: Sequence[str]) -> int:
    """``k3s etcd-snapshot [options] save|ls|delete|prune``. Raises FatalError."""
    options = parse(SNAPSHOT, argv)
    command, names = (options.arguments or [""])[0], options.arguments[1:]
    data = DataDir(options.text("data-dir"))
    if options.is_on("etcd-s3"):
        log.fatal("this stand-in for K3s keeps no snapshots in S3")
    if command == "save":
        etcd = Etcd(data, "127.0.0.1", name_node(options))
        if not etcd.has_data:
            log.fatal("etcd datastore disabled or not found: snapshots are of the embedded etcd only")
        try:
            save(data, etcd, options, options.text("name"))
        except EtcdError as error:
            log.fatal(f"Error: failed to save snapshot: {error}")
    elif command in ("ls", "list", "l"):
        _print(data, options)
    elif command == "delete":
        _delete(data, options, names)
    elif command == "prune":
        prune(data, options, options.text("name"), name_node(options))
    else:
        log.fatal(f"No help topic for '{command}'")
    return 0


def save(data: DataDir, etcd: Etcd, options: Options, base: str) -> Path:
    """Raises EtcdError."""
    folder = _folder(data, options)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{base}-{etcd.node_name}-{_stamp(folder, base, etcd.node_name)}"
    partial = path.with_name(f".{path.name}")
    try:
        etcd.run("snapshot", "save", str(partial), limit_s=300)
        partial.chmod(0o600)
        if options.is_on("etcd-snapshot-compress"):
            path = path.with_name(f"{path.name}.zip")
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.write(partial, path.stem)
            path.chmod(0o600)
        else:
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
        partial.with_name(f"{partial.name}.part").unlink(missing_ok=True)
    log.info(f"Snapshot {path.name} saved.")
    return path


def prune(data: DataDir, options: Options, base: str, node_name: str) -> None:
    found = sorted(_list(_folder(data, options), f"{base}-{node_name}-"), key=lambda path: path.stat().st_mtime)
    keep = options.number("etcd-snapshot-retention")
    for path in found[: max(0, len(found) - keep)]:
        path.unlink()
        log.info(f"Snapshot {path.name} deleted.")


def find(data: DataDir, path: str) -> Path:
    """A snapshot to restore. Fatal when there is none."""
    found = Path(path) if Path(path).is_absolute() else data.snapshots / path
    if not found.exists():
        log.fatal(f"etcd: snapshot path does not exist: {path}")
    return found


@contextlib.contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    if path.suffix != ".zip":
        yield path
        return
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch, zipfile.ZipFile(path) as archive:
        yield Path(archive.extract(archive.namelist()[0], scratch))


def is_time(schedule: str, now: datetime.datetime) -> bool:
    """Whether a cron expression of five fields means this minute."""
    fields = schedule.split()
    values = (now.minute, now.hour, now.day, now.month, now.isoweekday() % 7)
    if len(fields) != len(values):
        return False
    return all(value in _expand(field, *band) for field, value, band in zip(fields, values, _BANDS, strict=True))


def _expand(field: str, low: int, high: int) -> set[int]:
    found: set[int] = set()
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = ("", "", "") if span == "*" else span.partition("-")
        start = int(first) if first else low
        end = int(last) if last else (high if step or span == "*" else start)
        found.update(range(start, end + 1, int(step or 1)))
    return found


def _print(data: DataDir, options: Options) -> None:
    found = _list(_folder(data, options), "")
    rows = [
        (
            path.name,
            f"file://{path}",
            path.stat().st_size,
            clock.read(path.stat().st_mtime),
        )
        for path in found
    ]
    if options.text("output") == "json":
        items = [
            {
                "apiVersion": "k3s.cattle.io/v1",
                "kind": "ETCDSnapshotFile",
                "metadata": {"name": f"local-{name}"},
                "spec": {"snapshotName": name, "location": location, "nodeName": name_node(options)},
                "status": {"size": str(size), "creationTime": made.strftime("%Y-%m-%dT%H:%M:%SZ"), "readyToUse": True},
            }
            for name, location, size, made in rows
        ]
        print(json.dumps({"apiVersion": "k3s.cattle.io/v1", "kind": "ETCDSnapshotFileList", "items": items}))
        return
    width = max([len("Name"), *(len(row[0]) for row in rows)]) + 1
    place = max([len("Location"), *(len(row[1]) for row in rows)]) + 1
    print(f"{'Name':{width}}{'Location':{place}}{'Size':10}Created")
    for name, location, size, made in rows:
        print(f"{name:{width}}{location:{place}}{size:<10}{made.strftime('%Y-%m-%dT%H:%M:%SZ')}")


def _delete(data: DataDir, options: Options, names: Sequence[str]) -> None:
    if not names:
        log.fatal("no snapshots given for removal")
    for name in names:
        path = _folder(data, options) / Path(name).name
        if not path.exists():
            log.warn(f"Snapshot {name} not found locally")
            continue
        path.unlink()
        log.info(f"Snapshot {name} deleted.")


def _list(folder: Path, prefix: str) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(
        p for p in folder.iterdir() if p.is_file() and p.name.startswith(prefix) and not p.name.startswith(".")
    )


def _folder(data: DataDir, options: Options) -> Path:
    return Path(options.text("etcd-snapshot-dir") or data.snapshots)


def _stamp(folder: Path, base: str, node: str) -> int:
    """Seconds, and another one for each that was taken within the same second."""
    stamp = int(clock.seconds())
    while any((folder / f"{base}-{node}-{stamp}{kind}").exists() for kind in ("", ".zip")):
        stamp += 1
    return stamp
