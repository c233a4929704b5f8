"""Config to bytes and to its hash.

The hash is what the device sends back with each poll; it covers all of the config but ``config_timestamp``, which the
gateway sets when it first serves a config.
"""

from __future__ import annotations

import base64
import hashlib

from eaves.wire.pb.config.devconfig_pb2 import EdgeDevConfig


def encode_config(config: EdgeDevConfig) -> bytes:
    """Bytes that are equal for equal configs (map entries sorted)."""
    return config.SerializeToString(deterministic=True)


def config_hash(config: EdgeDevConfig) -> str:
    """Opaque text that differs when the config differs: base64url of SHA-256."""
    if config.HasField("config_timestamp"):
        stripped = EdgeDevConfig()
        stripped.CopyFrom(config)
        stripped.ClearField("config_timestamp")
        config = stripped
    return base64.urlsafe_b64encode(hashlib.sha256(encode_config(config)).digest()).decode().rstrip("=")
