"""Where the content of a volume that a patch envelope names lies, and how far it is, from what is observed."""

from __future__ import annotations

import hashlib
from pathlib import Path

from eaves.node.metadata.patches import Blob
from eaves.node.observed import Observations, VolumeState, VolumeStatus
from eaves.node.observed_patches import PatchState


class BlobFinder:
    """Remembers the digest of a file that did not change."""

    def __init__(self, observations: Observations) -> None:
        self._observations = observations
        self._digests: dict[tuple[str, int, int], str] = {}

    def find(self, volume_id: str) -> Blob:
        status = self._observations.get(VolumeStatus, volume_id)
        if not isinstance(status, VolumeStatus):
            return Blob(PatchState.RECEIVED)
        if status.fault is not None:
            return Blob(PatchState.ERROR, error=f"volume {status.name}: {status.fault.message}")
        if status.state is not VolumeState.READY:
            return Blob(PatchState.DOWNLOADING)
        path = Path(status.path)
        if not status.path or not path.is_file():
            return Blob(PatchState.ERROR, error=f"volume {status.name} is no single file")
        facts = path.stat()
        return Blob(PatchState.READY, path, self._digest(path, facts.st_mtime_ns, facts.st_size), facts.st_size)

    def _digest(self, path: Path, changed_ns: int, size: int) -> str:
        key = (str(path), changed_ns, size)
        if key not in self._digests:
            with path.open("rb") as file:
                self._digests[key] = hashlib.file_digest(file, "sha256").hexdigest()
        return self._digests[key]
