"""Datastores and content trees: where an image comes from, and the image.

An image reference without a Datastore object stands for its own registry without credentials. With one, a reference
that names no host is relative to the datastore; one that names the datastore's own host is absolute there; one that
names another host means that the datastore is a mirror.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import NamedTuple
from urllib.parse import urlsplit

from eaves.controller.compile.draft import Draft
from eaves.controller.compile.errors import HeldBackError
from eaves.controller.compile.identifiers import registry_id
from eaves.controller.compile.lookup import Lookup
from eaves.controller.compile.model import NodeCipher
from eaves.kinds.datastore import Datastore, DatastoreType
from eaves.kinds.image_reference import DEFAULT_REGISTRY, ImageReference, ImageReferenceError, parse_image_reference
from eaves.kinds.pem import split_certificates
from eaves.wire.pb.config.storage_pb2 import (
    CONTAINER,
    ContentTree,
    DatastoreConfig,
    DsContainerRegistry,
    DsHttp,
    DsHttps,
    DsS3,
    Format,
)
from eaves.wire.pb.evecommon.acipherinfo_pb2 import EncryptionBlock

HUB_HOSTS = frozenset({DEFAULT_REGISTRY, "index.docker.io", "registry-1.docker.io"})


class Server(NamedTuple):
    """A datastore's URL taken apart; ``path`` has no slash at its ends."""

    scheme: str
    host: str
    path: str


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
    """Adds the content tree and its datastore to the draft. Raises :class:`HeldBackError`."""
    if source.datastore:
        store = lookup.datastore(source.namespace, source.datastore)
        datastore_id, url, sha256 = store.metadata.uid, *_locate(store, source.image, iformat)
        if datastore_id not in draft.datastores:
            draft.datastores[datastore_id] = _want_datastore(store, draft, lookup, cipher)
    else:
        reference = _parse(source.image)
        datastore_id, url, sha256 = (
            registry_id(reference.registry),
            reference.suffixed(reference.repository),
            _sha256(reference),
        )
        draft.datastores[datastore_id] = DatastoreConfig(
            id=datastore_id, dType=DsContainerRegistry, fqdn=f"docker://{reference.registry}"
        )
    if iformat != CONTAINER and not sha256 and draft.datastores[datastore_id].dType != DsContainerRegistry:
        raise HeldBackError(
            "DigestMissing", f"image {source.image} is no container image and needs its digest: add @sha256:…"
        )
    draft.trees[tree_id] = ContentTree(
        uuid=tree_id,
        dsId=datastore_id,
        ds_ids_list=[datastore_id],
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


def parse_server(store: Datastore) -> Server:
    """Scheme (``docker`` when a registry names none, else ``https``), host with port, and path prefix of a datastore."""
    is_registry = store.spec.type is DatastoreType.REGISTRY
    url = store.spec.url if "://" in store.spec.url else f"{'docker' if is_registry else 'https'}://{store.spec.url}"
    parts = urlsplit(url)
    path = "/".join(part for part in (parts.path.strip("/"), store.spec.path.strip("/")) if part)
    scheme = "docker" if is_registry and parts.scheme in ("docker", "oci", "https") else parts.scheme
    return Server(scheme, parts.netloc, path)


def _want_datastore(store: Datastore, draft: Draft, lookup: Lookup, cipher: NodeCipher | None) -> DatastoreConfig:
    server = parse_server(store)
    match store.spec.type:
        case DatastoreType.REGISTRY:
            kind = DsContainerRegistry
        case DatastoreType.S3:
            kind = DsS3
        case DatastoreType.HTTP:
            kind = DsHttp if server.scheme == "http" else DsHttps
    config = DatastoreConfig(
        id=store.metadata.uid,
        dType=kind,
        fqdn=f"{server.scheme}://{server.host}",
        dpath=server.path,
        region=store.spec.region,
        dsCertPEM=[pem.encode() for pem in split_certificates(store.spec.ca_certificates)],
    )
    if store.spec.credentials_secret_ref is not None:
        username, password = _want_credentials(store, server, lookup)
        secrets = EncryptionBlock(dsAPIKey=username, dsPassword=password)
        config.cipherData.CopyFrom(draft.encrypt(cipher, secrets, f"Datastore {store.metadata.name}"))
    return config


def _want_credentials(store: Datastore, server: Server, lookup: Lookup) -> tuple[str, str]:
    """User and password from the Secret: keys username and password, or a Docker config. Raises :class:`HeldBackError`."""
    assert store.spec.credentials_secret_ref is not None
    name = store.spec.credentials_secret_ref.name
    data = lookup.secret_data(store.metadata.namespace, name)
    if data is None:
        raise HeldBackError(
            "SecretNotFound", f"Datastore {store.metadata.name} needs Secret {name}, which does not exist; create it"
        )
    try:
        if "username" in data and "password" in data:
            return data["username"].decode(), data["password"].decode()
        if ".dockerconfigjson" in data:
            return _from_docker_config(data[".dockerconfigjson"], server.host)
    except (ValueError, AttributeError, TypeError, LookupError, binascii.Error) as error:
        raise HeldBackError(
            "CredentialsUnreadable", f"Secret {name} holds no credentials for {server.host} that can be read"
        ) from error
    raise HeldBackError(
        "CredentialsUnreadable",
        f"Secret {name} needs the keys username and password, or .dockerconfigjson (kubectl create secret docker-registry)",
    )


def _from_docker_config(text: bytes, host: str) -> tuple[str, str]:
    """The entry for the host. Raises what :func:`_want_credentials` catches."""
    wanted = HUB_HOSTS if host in HUB_HOSTS else {host}
    for key, entry in sorted(json.loads(text)["auths"].items()):
        server = key if "://" in key else f"https://{key}"
        if urlsplit(server).netloc not in wanted:
            continue
        if "auth" in entry:
            username, _, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
            return username, password
        return str(entry["username"]), str(entry["password"])
    raise LookupError(host)
