"""K3s's program and image bundles, brought from the node's images to where K3s wants them.

There is no second way to download: what the config names by content tree, :mod:`eaves.node.images` has fetched and checked. The files
here are hard links to its blobs, so they cost nothing and stay when the images service drops a blob that no config names any more.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from msgspec import Struct

from eaves.kit import files, process
from eaves.kit.errors import EavesError
from eaves.node.clusters.errors import ClusterError

_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.lz4", ".tar.bz2", ".tbz", ".txt")
"""What K3s takes from its folder of images, by name."""
_MAGIC = (
    (b"\x28\xb5\x2f\xfd", ".tar.zst"),
    (b"\x1f\x8b", ".tar.gz"),
    (b"\x04\x22\x4d\x18", ".tar.lz4"),
    (b"BZh", ".tar.bz2"),
)
_OURS = "eaves-"
_VERSION = re.compile(r"\bv\d+\.\d+\.\d+\S*")
_VERSION_TIMEOUT_S = 120.0
"""K3s unpacks itself on its first call, on slow disks that takes long."""


class Bundle(Struct, frozen=True):
    """An air-gap image bundle that is here. ``reference``: what its content tree is called in the datastore."""

    path: str
    digest: str
    reference: str


def want_program_path(root: Path, version: str) -> Path:
    return root / "bin" / re.sub(r"[^A-Za-z0-9.+-]", "_", version) / "k3s"


def want_bundle_name(bundle: Bundle, head: bytes) -> str:
    """K3s judges by the suffix; a bundle whose reference has none is judged by its first bytes."""
    plain = bundle.reference.split("@")[0].lower()
    suffix = next((suffix for suffix in sorted(_SUFFIXES, key=len, reverse=True) if plain.endswith(suffix)), "")
    if not suffix:
        suffix = next((name for magic, name in _MAGIC if head.startswith(magic)), ".tar")
    return f"{_OURS}{bundle.digest.removeprefix('sha256:')[:16]}{suffix}"


def place_program(source: str, target: Path) -> None:
    """Make ``target`` the executable file ``source``. Blocking. Raises OSError."""
    files.want_folder(target.parent, mode=0o755)
    if not _is_same(Path(source), target):
        _link(Path(source), target)
    if not os.access(target, os.X_OK):
        target.chmod(0o755)


def place_bundles(bundles: Iterable[Bundle], folder: Path) -> None:
    """Make ``folder`` hold these bundles and none of ours besides. Blocking. Raises OSError."""
    files.want_folder(folder)
    wanted: set[str] = set()
    for bundle in bundles:
        with Path(bundle.path).open("rb") as file:
            name = want_bundle_name(bundle, file.read(4))
        wanted.add(name)
        if not (folder / name).exists():
            _link(Path(bundle.path), folder / name)
    for path in folder.glob(f"{_OURS}*"):
        if path.name not in wanted:
            path.unlink(missing_ok=True)


def remove_programs(root: Path, keep: Collection[str]) -> None:
    """Programs of other versions go; ``keep`` holds paths. Blocking."""
    folder = root / "bin"
    if folder.is_dir():
        for entry in folder.iterdir():
            if str(entry / "k3s") not in keep:
                shutil.rmtree(entry, ignore_errors=True)


async def observe_version(argv: Sequence[str]) -> str:
    """What ``k3s --version`` says: its second word. Raises ClusterError when the program does not run here."""
    try:
        done = await process.run([*argv, "--version"], timeout_s=_VERSION_TIMEOUT_S)
    except (EavesError, OSError) as error:
        raise ClusterError(
            f"the k3s program does not run on this machine: {error}",
            code="ProgramUnusable",
            resolution="check that it is made for this machine's architecture",
        ) from error
    found = _VERSION.search(done.text)
    if found is None:
        raise ClusterError(
            f"the program says no version of K3s: {done.text.strip()[:100]!r}",
            code="ProgramUnusable",
            resolution="check what the release's binary names",
        )
    return found[0]


async def check_version(program: Path, version: str) -> None:
    """Raises ClusterError when the program is of another version than the config says."""
    found = await observe_version([str(program)])
    if version and found != version:
        raise ClusterError(
            f"the k3s program is {found}, the config asks for {version}",
            code="VersionMismatch",
            resolution="correct the release's binary, or its version",
        )


def _is_same(source: Path, target: Path) -> bool:
    try:
        theirs, ours = source.stat(), target.stat()
    except FileNotFoundError:
        return False
    is_link = (theirs.st_dev, theirs.st_ino) == (ours.st_dev, ours.st_ino)
    return is_link or (theirs.st_size, int(theirs.st_mtime)) == (ours.st_size, int(ours.st_mtime))


def _link(source: Path, target: Path) -> None:
    """A link where the disk allows, else a copy; whole or not at all."""
    new = target.with_name(f".{target.name}.new")
    new.unlink(missing_ok=True)
    try:
        os.link(source, new)
    except OSError:
        shutil.copy2(source, new)
    new.replace(target)
    files.sync_folder(target.parent)


async def install(source: str, target: Path, version: str) -> None:
    """Place and try the program, once per file. Raises ClusterError, OSError."""
    mark = target.with_name("checked")
    stamp = await asyncio.to_thread(_stamp, source)
    if await asyncio.to_thread(target.exists) and await asyncio.to_thread(files.load_file, mark) == stamp:
        return
    await asyncio.to_thread(place_program, source, target)
    await check_version(target, version)
    await asyncio.to_thread(files.save_file, mark, stamp)


def _stamp(source: str) -> bytes:
    facts = Path(source).stat()
    return f"{source} {facts.st_size} {facts.st_mtime_ns}\n".encode()
