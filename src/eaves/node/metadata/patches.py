"""Patch envelopes as apps see them: what an active envelope that names the app holds, and how often it was asked for."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from eaves.node.desired.patch_model import DesiredPatch, PatchFile
from eaves.node.metadata import documents
from eaves.node.metadata.model import Answer
from eaves.node.observed_patches import PatchState, PatchStatus, PatchUse

ADDRESS = "http://169.254.169.254"
ARCHIVE_LIMIT_BYTES = 8 << 20
"""A larger envelope is downloaded file by file: the archive is made in memory."""


class Blob(Struct, frozen=True):
    """A volume's content on the disk. ``path`` None = not here yet; ``state`` says how far it is."""

    state: PatchState
    path: Path | None = None
    sha256: str = ""
    size_bytes: int = 0
    error: str = ""


FindBlob = Callable[[str], Blob]
"""Volume id → its blob."""


def find_no_blob(volume_id: str) -> Blob:
    return Blob(PatchState.ERROR, error=f"volume {volume_id} is not in the config")


class Patches:
    """The desired envelopes and the counters of their use."""

    def __init__(self, find_blob: FindBlob = find_no_blob) -> None:
        self._find_blob = find_blob
        self._wanted: tuple[DesiredPatch, ...] = ()
        self._uses: dict[tuple[str, str], PatchUse] = {}

    def set_desired(self, wanted: Iterable[DesiredPatch]) -> None:
        self._wanted = tuple(wanted)
        known = {patch.id for patch in self._wanted}
        self._uses = {key: use for key, use in self._uses.items() if key[1] in known}

    def statuses(self) -> tuple[PatchStatus, ...]:
        """Of all envelopes, for the controller. Blocking: digests of volumes may have to be computed."""
        return tuple(self._status(patch) for patch in self._wanted)

    def uses(self, app_id: str) -> tuple[PatchUse, ...]:
        return tuple(use for (owner, _), use in sorted(self._uses.items()) if owner == app_id)

    async def describe(self, app_id: str) -> Answer:
        """The envelopes that the app may have now; 204 for none."""
        visible = await asyncio.to_thread(self._visible, app_id)
        if not visible:
            return Answer(204)
        for patch in visible:
            self._count(app_id, patch, calls=1)
        return await asyncio.to_thread(lambda: documents.want_json([self._describe(patch) for patch in visible]))

    async def download(self, app_id: str, patch_id: str, name: str) -> Answer:
        """One file of an envelope, or all in a zip archive when ``name`` is empty."""
        visible = await asyncio.to_thread(self._visible, app_id)
        patch = next((patch for patch in visible if patch.id == patch_id), None)
        if patch is None:
            return documents.want_error(404, "patch is not found")
        if not name:
            answer = await self._archive(patch)
        else:
            file = next((file for file in patch.files if file.name == name), None)
            answer = documents.want_error(404, "file is not found") if file is None else await self._open(file)
        if answer.status == 200:
            self._count(app_id, patch, downloads=1)
        return answer

    def _visible(self, app_id: str) -> list[DesiredPatch]:
        return [
            patch
            for patch in self._wanted
            if app_id in patch.app_ids and self._status(patch).state is PatchState.ACTIVE
        ]

    def _status(self, patch: DesiredPatch) -> PatchStatus:
        blobs = [self._find_blob(file.volume_id) for file in patch.files if file.volume_id]
        states = [blob.state for blob in blobs]
        errors = (*patch.errors, *(blob.error for blob in blobs if blob.error))
        if errors:
            state = PatchState.ERROR
        elif any(found is not PatchState.READY for found in states):
            state = min(states, key=list(PatchState).index)
        else:
            state = PatchState.ACTIVE if patch.is_active else PatchState.READY
        size = sum(len(file.content) for file in patch.files) + sum(blob.size_bytes for blob in blobs)
        return PatchStatus(patch.id, patch.name, patch.version, state, size, errors)

    def _describe(self, patch: DesiredPatch) -> dict[str, Any]:
        return {
            "PatchID": patch.id,
            "Version": patch.version,
            "BinaryBlobs": [self._describe_file(patch, file) for file in patch.files],
            "VolumeRefs": None,
        }

    def _describe_file(self, patch: DesiredPatch, file: PatchFile) -> dict[str, Any]:
        blob = self._find_blob(file.volume_id) if file.volume_id else None
        return {
            "fileName": file.name,
            "fileSha": blob.sha256 if blob is not None else file.sha256,
            "fileMetaData": file.metadata,
            "artifactMetaData": file.artifact_metadata,
            "url": f"{ADDRESS}/eve/v1/patch/download/{patch.id}/{file.name}",
            "size": blob.size_bytes if blob is not None else len(file.content),
        }

    async def _open(self, file: PatchFile) -> Answer:
        if not file.volume_id:
            return Answer(200, file.content.reveal(), "application/octet-stream")
        blob = await asyncio.to_thread(self._find_blob, file.volume_id)
        return Answer(200, media_type="application/octet-stream", file=blob.path)

    async def _archive(self, patch: DesiredPatch) -> Answer:
        if (await asyncio.to_thread(self._status, patch)).size_bytes > ARCHIVE_LIMIT_BYTES:
            message = f"the envelope is larger than {ARCHIVE_LIMIT_BYTES} bytes; download its files one by one"
            return documents.want_error(413, message)
        answers = {file.name: await self._open(file) for file in patch.files}
        return Answer(200, await asyncio.to_thread(_make_archive, answers), "application/zip")

    def _count(self, app_id: str, patch: DesiredPatch, *, calls: int = 0, downloads: int = 0) -> None:
        known = self._uses.get((app_id, patch.id), PatchUse(patch.id, patch.version))
        self._uses[app_id, patch.id] = PatchUse(
            patch.id, patch.version, known.calls + calls, known.downloads + downloads
        )


def _make_archive(answers: Mapping[str, Answer]) -> bytes:
    import zipfile  # Rarely wanted, and memory stays taken.

    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, answer in answers.items():
            opened.writestr(name, answer.body if answer.file is None else answer.file.read_bytes())
    return archive.getvalue()
