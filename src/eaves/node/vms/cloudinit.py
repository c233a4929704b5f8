"""First-boot data of a guest as files: what cloud-init and cloudbase-init read from a CD-ROM at their first start. Pure.

NoCloud: volume ``cidata`` with ``user-data``, ``meta-data`` and ``network-config``. Config drive: volume ``config-2`` with the folder
``openstack/latest``. A MIME archive of a foreign controller is laid out as the files that its parts name, as EVE does.
Formats: the NoCloud and ConfigDrive pages of cloud-init's documentation.
"""

from __future__ import annotations

import json
import posixpath
import re
import uuid
from collections.abc import Mapping

from msgspec import Struct

from eaves.kit.errors import EavesError
from eaves.node.desired.secret import SecretBytes
from eaves.node.desired.vm_model import CloudInit, Datasource

NO_CLOUD_LABEL = "cidata"
CONFIG_DRIVE_LABEL = "config-2"

_INSTANCES = uuid.UUID("5f0c9a8e-7a53-5d0e-9d6b-0f6a3a1c9f11")
_HAS_INSTANCE_ID = re.compile(rb"^[\"']?instance-id[\"']?[ \t]*:", re.MULTILINE)
_JUNOS_MARK = b"#junos-config"


class CloudInitError(EavesError):
    """The data cannot be laid out; the message never quotes it, since it may hold secrets."""

    code = "BadUserData"


class SeedFiles(Struct, frozen=True):
    """Label of the volume, and its files by relative path."""

    label: str
    files: Mapping[str, SecretBytes]


def want_seed(cloud_init: CloudInit) -> SeedFiles:
    """The files of the image. Raises CloudInitError."""
    if cloud_init.datasource is Datasource.CONFIG_DRIVE:
        return _guard(CONFIG_DRIVE_LABEL, _want_config_drive(cloud_init))
    files = _split_multipart(cloud_init.user_data.reveal()) if cloud_init.split_multipart else None
    return _guard(NO_CLOUD_LABEL, _want_no_cloud(cloud_init) if files is None else files)


def _guard(label: str, files: Mapping[str, bytes]) -> SeedFiles:
    return SeedFiles(label, {path: SecretBytes(files[path]) for path in sorted(files)})


def _want_no_cloud(cloud_init: CloudInit) -> dict[str, bytes]:
    user_data = cloud_init.user_data.reveal()
    # The routers of one maker read their configuration from the same disk under a name of their own; EVE knows them too.
    name = "juniper.conf" if _JUNOS_MARK in user_data else "user-data"
    files = {name: user_data, "meta-data": _want_meta_data(cloud_init)}
    if cloud_init.network_config:
        files["network-config"] = cloud_init.network_config.reveal()
    return files


def _want_meta_data(cloud_init: CloudInit) -> bytes:
    """The operator's own, with the instance id that it must have; or made. JSON strings are YAML strings."""
    lines = [f"instance-id: {json.dumps(cloud_init.instance_id)}"]
    own = cloud_init.meta_data.reveal()
    if own:
        return own if _HAS_INSTANCE_ID.search(own) else f"{lines[0]}\n".encode() + own
    if cloud_init.hostname:
        lines.append(f"local-hostname: {json.dumps(cloud_init.hostname)}")
    return ("\n".join(lines) + "\n").encode()


def _want_config_drive(cloud_init: CloudInit) -> dict[str, bytes]:
    """OpenStack's layout: its ``uuid`` is the instance id there, and is written as one."""
    own = cloud_init.meta_data.reveal()
    meta: dict[str, object] = {}
    if own:
        try:
            loaded = json.loads(own)
        except ValueError as error:
            raise CloudInitError("the meta-data of a config drive is not JSON") from error
        if not isinstance(loaded, dict):
            raise CloudInitError("the meta-data of a config drive is no JSON object")
        meta = loaded
    meta.setdefault("uuid", str(uuid.uuid5(_INSTANCES, cloud_init.instance_id)))
    if cloud_init.hostname:
        meta.setdefault("hostname", cloud_init.hostname)
        meta.setdefault("name", cloud_init.hostname)
    folder = "openstack/latest"
    files = {f"{folder}/meta_data.json": json.dumps(meta, sort_keys=True).encode()}
    if cloud_init.user_data:
        files[f"{folder}/user_data"] = cloud_init.user_data.reveal()
    if cloud_init.network_config:
        files[f"{folder}/network_data.json"] = cloud_init.network_config.reveal()
    return files


def _split_multipart(user_data: bytes) -> dict[str, bytes] | None:
    """The parts by the path that each names; None when it is no MIME archive, which is then taken as ordinary user data."""
    # Imported by who needs it only: with its policies it takes 1 MB of the daemon's memory.
    from email import message_from_bytes, policy
    from email.message import EmailMessage

    message = message_from_bytes(user_data, _class=EmailMessage, policy=policy.HTTP)
    if not message.is_multipart():
        return None
    files: dict[str, bytes] = {}
    for number, part in enumerate(message.iter_parts(), start=1):
        # The whole path counts, which get_filename() leaves as it was written.
        name = part.get_filename("")
        path = posixpath.normpath(name.lstrip("/")) if name else ""
        if not path or path == "." or path.startswith("../") or path == ".." or "\0" in path:
            raise CloudInitError(f"part {number} of the user data names no file inside the image")
        payload = part.get_payload(decode=True)
        if not isinstance(payload, bytes):
            raise CloudInitError(f"part {number} of the user data is itself made of parts")
        files[path] = payload
    return files
