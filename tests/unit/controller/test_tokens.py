"""Tokens are unguessable and stored as hashes only; the kubeconfig is readable by its owner alone."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import yaml

from eaves.controller.kubeconfig import Access, save_kubeconfig
from eaves.controller.tokens import encode_token_hash, render_token


def test_tokens_differ_and_carry_256_bits() -> None:
    tokens = {render_token().text for _ in range(100)}
    assert len(tokens) == 100
    assert all(len(token.removeprefix("eaves_")) >= 43 for token in tokens)


def test_stored_hash_is_sha256_of_the_text() -> None:
    assert encode_token_hash("eaves_abc") == hashlib.sha256(b"eaves_abc").digest()
    token = render_token()
    assert token.hash == encode_token_hash(token.text)


def test_kubeconfig_is_private_and_names_server_ca_and_token(tmp_path: Path) -> None:
    path = tmp_path / "admin.kubeconfig"
    save_kubeconfig(path, Access(server="https://edge.example:6443", token="eaves_t", ca_pem=b"PEM"))
    assert path.stat().st_mode & 0o777 == 0o600
    config = yaml.safe_load(path.read_text())
    cluster = config["clusters"][0]["cluster"]
    assert cluster["server"] == "https://edge.example:6443"
    assert base64.b64decode(cluster["certificate-authority-data"]) == b"PEM"
    assert config["users"][0]["user"] == {"token": "eaves_t"}
    assert config["current-context"] == config["contexts"][0]["name"]


def test_kubeconfig_without_ca_trusts_the_system(tmp_path: Path) -> None:
    path = tmp_path / "config"
    save_kubeconfig(path, Access(server="https://edge.example", token="t", ca_pem=None))
    assert yaml.safe_load(path.read_text())["clusters"][0]["cluster"] == {"server": "https://edge.example"}
