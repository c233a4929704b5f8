"""What the parts of the parser share: where problems go, checked UUIDs, cleaned names, decryption.

Owned by one run of :func:`eaves.node.desired.parse.parse_config`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from google.protobuf.message import DecodeError

from eaves.kit.errors import EavesError
from eaves.node.desired.errors import ObjectError
from eaves.node.desired.model import ConfigProblem, ObjectKind
from eaves.wire.identifiers import is_uuid
from eaves.wire.pb.evecommon.acipherinfo_pb2 import CipherBlock, EncryptionBlock

Decrypt = Callable[[CipherBlock], bytes]
"""Plaintext of a block (a serialized EncryptionBlock in most fields). Raises an EavesError."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NAME_LIMIT = 256


class Draft:
    """Collects problems; knows which ids were seen."""

    def __init__(self, decrypt: Decrypt) -> None:
        self.problems: list[ConfigProblem] = []
        self._decrypt = decrypt
        self._seen: set[tuple[ObjectKind, str]] = set()

    def add(
        self,
        kind: ObjectKind,
        object_id: str,
        name: str,
        code: str,
        message: str,
        resolution: str = "",
        *,
        is_fatal: bool = False,
    ) -> None:
        element = f"{kind.value} {name or object_id or 'without id'}"
        self.problems.append(ConfigProblem(object_id, element, code, message, resolution, kind, is_fatal))

    def add_error(self, kind: ObjectKind, object_id: str, name: str, error: EavesError) -> None:
        """The object is left out because of ``error``."""
        self.add(kind, object_id, name, error.code, error.message, error.resolution, is_fatal=True)

    def take_id(self, kind: ObjectKind, text: str, name: str) -> str | None:
        """A usable and new id, or None after noting the problem. Ids become names of files, so nothing but a UUID will do."""
        object_id = text.lower()
        if not is_uuid(object_id):
            self.add(kind, text[:64], clean_name(name), "BadIdentifier", "its UUID cannot be read", is_fatal=True)
            return None
        if (kind, object_id) in self._seen:
            message = "it appears twice in the config; the first one counts"
            self.add(kind, object_id, clean_name(name), "DuplicateObject", message)
            return None
        self._seen.add((kind, object_id))
        return object_id

    def decrypt(self, block: CipherBlock) -> EncryptionBlock:
        """Contents of an encrypted field. Raises ObjectError."""
        try:
            return EncryptionBlock.FromString(self.decrypt_bytes(block))
        except DecodeError as error:
            raise ObjectError("an encrypted field decrypts to nonsense", code="DecryptionFailed") from error

    def decrypt_bytes(self, block: CipherBlock) -> bytes:
        """Contents of an encrypted field that holds something else than an EncryptionBlock. Raises ObjectError."""
        try:
            return self._decrypt(block)
        except EavesError as error:
            raise ObjectError(
                f"an encrypted field cannot be read: {error.message}",
                code="DecryptionFailed",
                resolution=error.resolution,
            ) from error


def clean_name(text: str) -> str:
    """``text`` fit for one line of a log, a label or a table."""
    return _CONTROL.sub("", text)[:_NAME_LIMIT].strip()
