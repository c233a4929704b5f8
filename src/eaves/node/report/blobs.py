"""Blobs of images → ZInfoBlobList: manifests, configs and layers by digest, one message for those of an image. Pure.

EVE sends one message for each blob whenever it changes. The list holds several, and how far a single one is on its way is not known here,
so an image's are told together: when they are known, verified and loaded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from eaves.node.observed import ImageState, ImageStatus
from eaves.node.report.pieces import want_message
from eaves.wire.pb.info import info_pb2
from eaves.wire.pb.info.info_pb2 import ContentResources, UsageInfo, ZInfoBlob, ZInfoMsg, ZSwState

_STATES_HERE = {
    ImageState.VERIFYING: info_pb2.VERIFYING,
    ImageState.CONVERTING: info_pb2.LOADING,
    ImageState.LOADED: info_pb2.LOADED,
}
"""Of blobs that are here. Others are known by their digests only once their download has begun."""


class BlobReport(Struct, frozen=True):
    """What is told of a blob. ``state``: by the image that is furthest of those that have it; ``references``: how many do."""

    digest: str
    size_bytes: int
    state: ZSwState.ValueType
    references: int


BlobReports = Mapping[str, tuple[BlobReport, ...]]
"""By the image's id."""


def want_blob_reports(images: Iterable[ImageStatus]) -> BlobReports:
    """Of all images whose blobs are known."""
    known = [image for image in images if image.blobs]
    references = Counter(blob.digest for image in known for blob in image.blobs)
    furthest: dict[str, ZSwState.ValueType] = {}
    for image in known:
        state = _STATES_HERE.get(image.state, info_pb2.DOWNLOAD_STARTED)
        for blob in image.blobs:
            # Their numbers grow in the order in which a blob goes through them.
            furthest[blob.digest] = max(state, furthest.get(blob.digest, state))
    return {
        image.id: tuple(
            BlobReport(blob.digest, blob.size_bytes, furthest[blob.digest], references[blob.digest])
            for blob in image.blobs
        )
        for image in known
    }


def want_blob_infos(device_id: str, told: BlobReports, wanted: BlobReports, now: float) -> dict[str, ZInfoMsg]:
    """The messages about what changed since ``told``, by the image's id; of a blob that no image has any more its digest alone."""
    kept = {blob.digest for blobs in wanted.values() for blob in blobs}
    messages: dict[str, ZInfoMsg] = {}
    for image_id in {**told, **wanted}:
        former, blobs = told.get(image_id, ()), wanted.get(image_id, ())
        gone = [blob.digest for blob in former if blob.digest not in kept]
        if gone or (blobs and blobs != former):
            messages[image_id] = _want_info(device_id, blobs, gone, now)
    return messages


def _want_info(device_id: str, blobs: Sequence[BlobReport], gone: Sequence[str], now: float) -> ZInfoMsg:
    message = want_message(device_id, info_pb2.ZiBlobList, now)
    message.binfo.blob.extend(_want_blob(blob) for blob in blobs)
    message.binfo.blob.extend(ZInfoBlob(sha256=digest.removeprefix("sha256:")) for digest in gone)
    return message


def _want_blob(blob: BlobReport) -> ZInfoBlob:
    return ZInfoBlob(
        sha256=blob.digest.removeprefix("sha256:"),
        resources=ContentResources(curSizeBytes=blob.size_bytes),
        usage=UsageInfo(refCount=blob.references),
        state=blob.state,
        progressPercentage=0 if blob.state == info_pb2.DOWNLOAD_STARTED else 100,
    )
