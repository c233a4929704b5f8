"""What is told of the blobs that images consist of."""

from __future__ import annotations

from msgspec.structs import replace

from eaves.node.observed import ImageBlob, ImageState, ImageStatus
from eaves.node.report.blobs import BlobReports, want_blob_infos, want_blob_reports
from eaves.node.report.storage import want_image_info
from eaves.wire.pb.info import info_pb2

INDEX, BASE, LAYER = ImageBlob("sha256:11", 400), ImageBlob("sha256:22", 5000), ImageBlob("sha256:33", 60)
WEB = ImageStatus("web", "web", ImageState.DOWNLOADING, "sha256:11", blobs=(INDEX, BASE))
OTHER = ImageStatus("other", "other", ImageState.LOADED, "sha256:33", blobs=(LAYER, BASE))


def tell(told: BlobReports, *images: ImageStatus) -> dict[str, list[tuple[object, ...]]]:
    return {
        image_id: [
            (blob.sha256, blob.resources.curSizeBytes, blob.state, blob.progressPercentage, blob.usage.refCount)
            for blob in message.binfo.blob
        ]
        for image_id, message in want_blob_infos("device", told, want_blob_reports(images), 9.0).items()
    }


def test_an_images_blobs_are_told_together_when_known_and_when_here() -> None:
    told = want_blob_reports([WEB])
    (message,) = want_blob_infos("device", {}, told, 9.0).values()
    assert (message.ztype, message.devId, message.atTimeStamp.seconds) == (info_pb2.ZiBlobList, "device", 9)
    started = info_pb2.DOWNLOAD_STARTED
    assert tell({}, WEB) == {"web": [("11", 400, started, 0, 1), ("22", 5000, started, 0, 1)]}
    # Neither progress nor another attempt is worth a message.
    assert tell(told, replace(WEB, downloaded_bytes=500, size_bytes=1000)) == {}
    assert tell(told, replace(WEB, state=ImageState.FAILED)) == {}
    for state, number in (
        (ImageState.VERIFYING, info_pb2.VERIFYING),
        (ImageState.CONVERTING, info_pb2.LOADING),
        (ImageState.LOADED, info_pb2.LOADED),
    ):
        assert tell(told, replace(WEB, state=state)) == {
            "web": [("11", 400, number, 100, 1), ("22", 5000, number, 100, 1)]
        }


def test_a_shared_blob_is_as_far_as_the_image_that_is_furthest() -> None:
    loaded, started = info_pb2.LOADED, info_pb2.DOWNLOAD_STARTED
    assert tell({}, WEB, OTHER) == {
        "web": [("11", 400, started, 0, 1), ("22", 5000, loaded, 100, 2)],
        "other": [("33", 60, loaded, 100, 1), ("22", 5000, loaded, 100, 2)],
    }


def test_a_blob_that_no_image_has_any_more_is_told_by_its_digest_alone() -> None:
    told = want_blob_reports([WEB, OTHER])
    started = info_pb2.DOWNLOAD_STARTED
    assert tell(told, WEB) == {
        "web": [("11", 400, started, 0, 1), ("22", 5000, started, 0, 1)],
        "other": [("33", 0, 0, 0, 0)],
    }
    newer = replace(WEB, blobs=(LAYER,))
    assert tell(want_blob_reports([WEB]), newer) == {
        "web": [("33", 60, started, 0, 1), ("11", 0, 0, 0, 0), ("22", 0, 0, 0, 0)]
    }
    assert tell(want_blob_reports([newer]), replace(WEB, blobs=())) == {"web": [("33", 0, 0, 0, 0)]}


def test_an_image_whose_blobs_are_not_known_tells_of_none() -> None:
    bare = ImageStatus("bare", "bare", ImageState.LOADED, "sha256:11")
    assert tell({}, bare) == {}
    assert list(want_image_info("device", bare, (), 9.0).cinfo.componentShaList) == ["11"]
    assert list(want_image_info("device", OTHER, (), 9.0).cinfo.componentShaList) == ["33", "22"]
