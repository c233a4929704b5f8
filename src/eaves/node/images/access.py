"""How to ask a datastore: the helper's set-up and the paths of blobs. Pure."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from eaves.node.desired.model import DatastoreKind, DesiredDatastore, DesiredImage, S3Addressing
from eaves.node.images.download.protocol import Setup
from eaves.node.images.errors import ImageUnsupportedError
from eaves.node.images.ways import Way, WebProxy

_KINDS = {
    DatastoreKind.REGISTRY: "registry",
    DatastoreKind.HTTP: "http",
    DatastoreKind.HTTPS: "http",
    DatastoreKind.S3: "s3",
}


_HUB = "registry-1.docker.io"
_HUB_NAMES = ("docker.io", "index.docker.io")


class FetchOptions(Struct, frozen=True):
    """What holds for all downloads of a node now; fields as in :class:`Setup`."""

    proxy: WebProxy = WebProxy()
    """Of ways that have none of their own."""
    stalled_after_s: float = 600.0
    max_cuts: int = 5
    rate_bytes_per_s: int = 0
    allow_insecure_auth: bool = False
    boot_id: str = ""


def want_setup(datastore: DesiredDatastore, way: Way, folder: Path, options: FetchOptions, element: str) -> Setup:
    """How to ask ``datastore`` by ``way``. Raises ImageUnsupportedError for a datastore of another kind."""
    if datastore.kind not in _KINDS:
        raise ImageUnsupportedError(
            f"datastores of kind {datastore.kind} are not known",
            element=element,
            resolution="use a registry, HTTP or S3",
        )
    base = datastore.server
    if datastore.kind is DatastoreKind.REGISTRY:
        host = _HUB if datastore.server in _HUB_NAMES else datastore.server
        base = f"{'http' if datastore.plain_http else 'https'}://{host}"
    elif datastore.kind is DatastoreKind.S3 and is_virtual_host(datastore):
        scheme, _, host = base.partition("://")
        base = f"{scheme}://{_bucket_of(datastore)}.{host}"
    proxy = way.proxy if way.proxy is not None else options.proxy
    return Setup(
        kind=_KINDS[datastore.kind],
        base=base,
        folder=str(folder),
        username=datastore.username,
        password=datastore.password.reveal(),
        ca_pems=(*datastore.ca_pems, *proxy.ca_pems),
        region=datastore.region,
        may_lack_tls=datastore.may_lack_tls,
        allow_insecure_auth=options.allow_insecure_auth,
        address=way.address,
        interface=way.interface,
        proxies=dict(proxy.variables),
        pac=proxy.pac,
        stalled_after_s=options.stalled_after_s,
        max_cuts=options.max_cuts,
        rate_bytes_per_s=options.rate_bytes_per_s,
        boot_id=options.boot_id,
    )


def want_path(image: DesiredImage, datastore: DesiredDatastore) -> str:
    """Of a file in a datastore that is no registry."""
    folder = datastore.path
    if datastore.kind is DatastoreKind.S3 and is_virtual_host(datastore):
        folder = folder.partition("/")[2]
    return "/".join(part.strip("/") for part in (folder, image.reference) if part.strip("/"))


def is_virtual_host(datastore: DesiredDatastore) -> bool:
    """Whether an S3 bucket is named in the host: as the datastore says, else at Amazon, if the name may be in a certificate's host."""
    if datastore.addressing:
        return datastore.addressing is S3Addressing.VIRTUAL_HOST
    host = datastore.server.partition("://")[2].partition(":")[0]
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn")) and "." not in _bucket_of(datastore)


def _bucket_of(datastore: DesiredDatastore) -> str:
    return datastore.path.partition("/")[0]
