"""Encryption of Secrets in the datastore, and the command ``k3s secrets-encrypt`` as far as the stand-in has it: ``status``."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Sequence

from tests.k3s import log
from tests.k3s.options import SECRETS_ENCRYPT, parse
from tests.k3s.paths import DataDir, write


def want_config(data: DataDir, *, is_wanted: bool) -> None:
    """The key is made once; joining servers get it with the authorities' keys."""
    path = data.credentials / "encryption-config.json"
    if not is_wanted or path.exists():
        return
    key = {"name": "aescbckey", "secret": base64.b64encode(secrets.token_bytes(32)).decode()}
    providers = [{"aescbc": {"keys": [key]}}, {"identity": {}}]
    document = {
        "kind": "EncryptionConfiguration",
        "apiVersion": "apiserver.config.k8s.io/v1",
        "resources": [{"resources": ["secrets"], "providers": providers}],
    }
    write(path, json.dumps(document))


def run(argv: Sequence[str]) -> int:
    """Raises FatalError."""
    options = parse(SECRETS_ENCRYPT, argv)
    command = (options.arguments or [""])[0]
    if command != "status":
        log.fatal(f"this stand-in for K3s has no secrets-encrypt {command}")
    path = DataDir(options.text("data-dir")).credentials / "encryption-config.json"
    if not path.exists():
        print("Encryption Status: Disabled, no configuration file found")
        return 0
    name = json.loads(path.read_text())["resources"][0]["providers"][0]["aescbc"]["keys"][0]["name"]
    print("Encryption Status: Enabled\nCurrent Rotation Stage: start")
    print(
        f"Server Encryption Hashes: All hashes match\n\nActive  Key Type  Name\n------  --------  ----\n *      AES-CBC   {name}"
    )
    return 0
