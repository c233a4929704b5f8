"""How to ask a datastore: the helper's set-up and the paths of blobs. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from eaves.node.desired.model import DatastoreKind, DesiredDatastore, DesiredImage
from eaves.node.images.download.protocol import Setup
from eaves.node.images.errors import ImageUnsupportedError

_KINDS = {
    DatastoreKind.REGISTRY: "registry",
    DatastoreKind.HTTP: "http",
    DatastoreKind.HTTPS: "http",
    DatastoreKind.S3: "s3",
}


class FetchOptions(Struct, frozen=True):
    """What holds for all downloads of a node now; fields as in :class:`Setup`."""

    proxies: Mapping[str, str] = {}
    address: str = ""
    stalled_after_s: float = 600.0
    max_cuts: int = 5
    rate_bytes_per_s: int = 0
    allow_insecure_auth: bool = False
    boot_id: str = ""


def want_setup(datastore: DesiredDatastore, folder: Path, options: FetchOptions, element: str) -> Setup:
    """Raises ImageUnsupportedError for a datastore that this node cannot ask."""
    if datastore.kind not in _KINDS:
        raise ImageUnsupportedError(
            f"datastores of kind {datastore.kind} are not known",
            element=element,
            resolution="use a registry, HTTP or S3",
        )
    base = datastore.server
    if datastore.kind is DatastoreKind.REGISTRY:
        base = f"{'http' if datastore.plain_http else 'https'}://{datastore.server}"
    return Setup(
        kind=_KINDS[datastore.kind],
        base=base,
        folder=str(folder),
        username=datastore.username,
        password=datastore.password.reveal(),
        ca_pems=datastore.ca_pems,
        region=datastore.region,
        allow_insecure_auth=options.allow_insecure_auth,
        address=options.address,
        proxies=options.proxies,
        stalled_after_s=options.stalled_after_s,
        max_cuts=options.max_cuts,
        rate_bytes_per_s=options.rate_bytes_per_s,
        boot_id=options.boot_id,
    )


def want_path(image: DesiredImage, datastore: DesiredDatastore) -> str:
    """Of a file in a datastore that is no registry."""
    return "/".join(part.strip("/") for part in (datastore.path, image.reference) if part.strip("/"))
