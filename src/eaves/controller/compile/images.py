"""Datastores and content trees: where an image comes from, and the image.

An image reference without a Datastore object stands for its own registry without credentials. With one, a reference
that names no host is relative to the datastore; one that names the datastore's own host is absolute there; one that
names another host means that the datastore is a mirror.
"""

from __future__ import annotations

from typing import NamedTuple

from eaves.controller.compile.datastores import HUB_HOSTS, parse_server, want_datastores
from eaves.controller.compile.draft import Draft
from eaves.controller.compile.errors import HeldBackError
from eaves.controller.compile.identifiers import registry_id
from eaves.controller.compile.lookup import Lookup
from eaves.controller.compile.model import NodeCipher
from eaves.kinds.datastore import Datastore, DatastoreType
from eaves.kinds.image_reference import ImageReference, ImageReferenceError, parse_image_reference
from eaves.wire.pb.config.storage_pb2 import (
    CONTAINER,
    ContentTree,
    DatastoreConfig,
    DsContainerRegistry,
    Format,
)


class ImageSource(NamedTuple):
    """What an image is asked by: the namespace of the user, the reference, a Datastore's name (or empty)."""

    namespace: str
    image: str
    datastore: str


def want_content_tree(
    tree_id: str,
    name: str,
    source: ImageSource,
    draft: Draft,
    lookup: Lookup,
    cipher: NodeCipher | None,
    *,
    generation: int = 0,
    iformat: Format.ValueType = CONTAINER,
) -> None:
    """Adds the content tree and its datastores to the draft. Raises :class:`HeldBackError`."""
    if source.datastore:
        store = lookup.datastore(source.namespace, source.datastore)
        url, sha256 = _locate(store, source.image, iformat)
        ids = want_datastores(store, draft, lookup, cipher, with_mirrors=bool(sha256))
    else:
        reference = _parse(source.image)
        url, sha256 = reference.suffixed(reference.repository), _sha256(reference)
        ids = [registry_id(reference.registry)]
        draft.datastores[ids[0]] = DatastoreConfig(
            id=ids[0], dType=DsContainerRegistry, fqdn=f"docker://{reference.registry}"
        )
        draft.datastores[ids[0]].eaves.tls_only = True
    if iformat != CONTAINER and not sha256 and draft.datastores[ids[-1]].dType != DsContainerRegistry:
        raise HeldBackError(
            "DigestMissing", f"image {source.image} is no container image and needs its digest: add @sha256:…"
        )
    draft.trees[tree_id] = ContentTree(
        uuid=tree_id,
        dsId=ids[0],
        ds_ids_list=ids,
        URL=url,
        iformat=iformat,
        sha256=sha256,
        displayName=name,
        generation_count=generation,
    )


def _parse(image: str) -> ImageReference:
    try:
        return parse_image_reference(image)
    except ImageReferenceError as error:
        raise HeldBackError("InvalidImage", f"image {image}: {error}") from error


def _sha256(reference: ImageReference) -> str:
    algorithm, _, digest = reference.digest.partition(":")
    return digest if algorithm == "sha256" else ""


def _locate(store: Datastore, image: str, iformat: Format.ValueType) -> tuple[str, str]:
    """Path below the datastore's own, and SHA-256 (or empty)."""
    if store.spec.type is not DatastoreType.REGISTRY:
        if iformat == CONTAINER:
            raise HeldBackError(
                "DatastoreTypeUnsupported",
                f"Datastore {store.metadata.name} is of type {store.spec.type}; container images come from type Registry",
            )
        path, _, digest = image.partition("@")
        return path.lstrip("/"), digest.removeprefix("sha256:")
    reference = _parse(image)
    server = parse_server(store)
    path = reference.path
    if not server.path and server.host in HUB_HOSTS and "/" not in path:
        path = f"library/{path}"
    is_absolute = reference.host == server.host
    if is_absolute and server.path:
        prefix = server.path + "/"
        if not path.startswith(prefix):
            raise HeldBackError(
                "ImageOutsideDatastore",
                f"image {image} is not below {server.path} of Datastore {store.metadata.name}; leave out one of the two",
            )
        path = path.removeprefix(prefix)
    return reference.suffixed(path), _sha256(reference)
