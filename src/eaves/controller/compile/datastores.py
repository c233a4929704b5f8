"""Datastore objects as datastores of a device config: the server, its mirrors and fall-backs, credentials only sealed.

A mirror is a datastore of its own. Where an image is known by digest it stands before its datastore in the content tree's list, so that
devices of any kind use it; where only a tag is known it must not be asked what the tag means, so an Eaves node alone hears of it.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from eaves.controller.compile.draft import Draft
from eaves.controller.compile.errors import HeldBackError
from eaves.controller.compile.identifiers import derived_id
from eaves.controller.compile.lookup import Lookup
from eaves.controller.compile.model import NodeCipher
from eaves.kinds.datastore import Datastore, DatastoreType
from eaves.kinds.image_reference import DEFAULT_REGISTRY
from eaves.kinds.pem import split_certificates
from eaves.wire.pb.config.storage_pb2 import DatastoreConfig, DsContainerRegistry, DsHttp, DsHttps, DsS3
from eaves.wire.pb.evecommon.acipherinfo_pb2 import EncryptionBlock

_S3_REGION = "us-east-1"
_USERNAME_KEYS = (("username", "password"), ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"))
HUB_HOSTS = frozenset({DEFAULT_REGISTRY, "index.docker.io", "registry-1.docker.io"})


class Server(NamedTuple):
    """A datastore's URL taken apart; ``path`` has no slash at its ends."""

    scheme: str
    host: str
    path: str


def want_datastores(
    store: Datastore, draft: Draft, lookup: Lookup, cipher: NodeCipher | None, *, with_mirrors: bool
) -> list[str]:
    """Adds the datastore, its mirrors and its fall-backs to the draft; answers the ids to try in order.

    ``with_mirrors``: the image's digest is known, so mirrors may be among them. Raises :class:`HeldBackError`.
    """
    ids: list[str] = []
    for one in (store, *_list_fallbacks(store, lookup)):
        mirror_ids = [_add_mirror(one, number, draft, lookup, cipher) for number in range(len(one.spec.mirrors))]
        if one.metadata.uid not in draft.datastores:
            config = _want_datastore(one, one.metadata.uid, draft, lookup, cipher)
            config.eaves.mirror_ids.extend(mirror_ids)
            if one.spec.addressing is not None:
                config.eaves.s3_addressing = one.spec.addressing
            if not config.eaves.ByteSize():
                config.ClearField("eaves")
            draft.datastores[one.metadata.uid] = config
        ids += [*(mirror_ids if with_mirrors else ()), one.metadata.uid]
    return list(dict.fromkeys(ids))


def _list_fallbacks(store: Datastore, lookup: Lookup) -> list[Datastore]:
    """Their own fall-backs do not count."""
    found = []
    for reference in store.spec.fallback_datastore_refs:
        one = lookup.datastore(store.metadata.namespace, reference.name)
        if (one.spec.type is DatastoreType.REGISTRY) is not (store.spec.type is DatastoreType.REGISTRY):
            raise HeldBackError(
                "DatastoreTypeMismatch",
                f"Datastore {store.metadata.name} falls back on {reference.name}, but only one of them is a registry",
            )
        found.append(one)
    return found


def _add_mirror(store: Datastore, number: int, draft: Draft, lookup: Lookup, cipher: NodeCipher | None) -> str:
    mirror = store.spec.mirrors[number]
    mirror_id = derived_id("mirror", store.metadata.uid, mirror.url, mirror.path)
    if mirror_id not in draft.datastores:
        spec = msgspec.structs.replace(
            store.spec,
            url=mirror.url,
            path=mirror.path,
            credentials_secret_ref=mirror.credentials_secret_ref,
            ca_certificates=mirror.ca_certificates,
        )
        config = _want_datastore(msgspec.structs.replace(store, spec=spec), mirror_id, draft, lookup, cipher)
        draft.datastores[mirror_id] = config
    return mirror_id


def parse_server(store: Datastore) -> Server:
    """Scheme (``docker`` when a registry names none, else ``https``), host with port, and path prefix of a datastore."""
    is_registry = store.spec.type is DatastoreType.REGISTRY
    url = store.spec.url if "://" in store.spec.url else f"{'docker' if is_registry else 'https'}://{store.spec.url}"
    parts = urlsplit(url)
    path = "/".join(part for part in (parts.path.strip("/"), store.spec.path.strip("/")) if part)
    scheme = "docker" if is_registry and parts.scheme in ("docker", "oci", "https") else parts.scheme
    return Server(scheme, parts.netloc, path)


def _want_datastore(
    store: Datastore, datastore_id: str, draft: Draft, lookup: Lookup, cipher: NodeCipher | None
) -> DatastoreConfig:
    server = parse_server(store)
    match store.spec.type:
        case DatastoreType.REGISTRY:
            kind = DsContainerRegistry
        case DatastoreType.S3:
            kind = DsS3
        case DatastoreType.HTTP:
            kind = DsHttp if server.scheme == "http" else DsHttps
    config = DatastoreConfig(
        id=datastore_id,
        dType=kind,
        fqdn=f"{server.scheme}://{server.host}",
        dpath=server.path,
        # What a device would take for none differs between kinds of devices.
        region=store.spec.region or (_S3_REGION if store.spec.type is DatastoreType.S3 else ""),
        dsCertPEM=[pem.encode() for pem in split_certificates(store.spec.ca_certificates)],
    )
    if server.scheme == "docker":
        config.eaves.tls_only = True
    if store.spec.credentials_secret_ref is not None:
        username, password = _want_credentials(store, server, lookup)
        secrets = EncryptionBlock(dsAPIKey=username, dsPassword=password)
        config.cipherData.CopyFrom(draft.encrypt(cipher, secrets, f"Datastore {store.metadata.name}"))
    return config


def _want_credentials(store: Datastore, server: Server, lookup: Lookup) -> tuple[str, str]:
    """User and password from the Secret: keys of that name, those of AWS tools, or a Docker config. Raises :class:`HeldBackError`."""
    assert store.spec.credentials_secret_ref is not None
    name = store.spec.credentials_secret_ref.name
    data = lookup.secret_data(store.metadata.namespace, name)
    if data is None:
        raise HeldBackError(
            "SecretNotFound", f"Datastore {store.metadata.name} needs Secret {name}, which does not exist; create it"
        )
    try:
        for username, password in _USERNAME_KEYS:
            if username in data and password in data:
                return data[username].decode(), data[password].decode()
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
