"""K3s's tokens: ``K10<hash of the cluster's authority>::<user>:<password>``, or the password alone."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path
from typing import NamedTuple

from tests.k3s import log
from tests.k3s.options import Options
from tests.k3s.paths import DataDir, write

_PREFIX = "K10"


class Token(NamedTuple):
    """``authority`` is the hex SHA-256 of the authority's PEM; empty in the short form, which trusts whom it meets."""

    authority: str
    user: str
    password: str

    def format(self, authority: bytes) -> str:
        return f"{_PREFIX}{hash_authority(authority)}::{self.user}:{self.password}"


def hash_authority(pem: bytes) -> str:
    return hashlib.sha256(pem).hexdigest()


def parse(text: str) -> Token:
    text = text.strip()
    if not text.startswith(_PREFIX):
        user, separator, password = text.partition(":")
        return Token("", user, password) if separator else Token("", "", text)
    authority, separator, credentials = text.removeprefix(_PREFIX).partition("::")
    user, colon, password = credentials.partition(":")
    if not separator or not colon or not password:
        log.fatal("invalid token format")
    return Token(authority, user, password)


def load_given(options: Options, name: str = "token") -> str:
    """The token of the options or of the file that they name; empty when there is none."""
    file = options.text(f"{name}-file")
    if options.text(name):
        return options.text(name)
    return Path(file).read_text().strip() if file else ""


def want_server_token(data: DataDir, options: Options) -> str:
    """The password of the cluster: the given one, that on disk, or a new one."""
    given = load_given(options)
    if given:
        token = parse(given)
        has_authority = (data.tls / "server-ca.crt").exists()
        if token.authority and not has_authority and not options.text("server") and not options.is_on("cluster-reset"):
            log.fatal("--token must not be in the K10 format when the first server of a cluster starts")
        return token.password
    if data.token.exists():
        return parse(data.token.read_text()).password
    return secrets.token_hex(16)


def write_tokens(data: DataDir, password: str, options: Options) -> str:
    """Server, node and agent token in the secure format; answers the agents' password."""
    authority = (data.tls / "server-ca.crt").read_bytes()
    write(data.token, Token("", "server", password).format(authority) + "\n")
    _link(data.node_token, data.token)
    agents = parse(load_given(options, "agent-token")).password if load_given(options, "agent-token") else ""
    if agents and agents != password:
        data.agent_token.unlink(missing_ok=True)
        write(data.agent_token, Token("", "node", agents).format(authority) + "\n")
    else:
        _link(data.agent_token, data.token)
    return agents or password


def _link(path: Path, target: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target)
