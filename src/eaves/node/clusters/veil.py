"""Keeps a cluster's credentials out of what is told of K3s: its log lines and its last words.

K3s itself is careful with its tokens, but a datastore's driver may say the whole endpoint when it cannot be reached or read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote

import yaml

from eaves.kit import files
from eaves.node.clusters.model import ClusterFolders
from eaves.node.clusters.spec import secret_of

HIDDEN = "<hidden>"
_LEAST = 4
"""Shorter words are parts of other words, and no secrets that are worth the name."""
_PASSWORD = re.compile(r"://[^:/@]*:(.+)@|[?&](?:ssl)?password=([^&]+)")


class Veil:
    """Learns words and hides them. Empty hides nothing."""

    def __init__(self) -> None:
        self._words: tuple[str, ...] = ()

    def learn(self, words: Iterable[str]) -> None:
        """Known from now on, beside those before: what was rotated may still be written about."""
        known = {*self._words, *(word for word in words if len(word) >= _LEAST)}
        # Those that hold others come first.
        self._words = tuple(sorted(known, key=lambda word: (-len(word), word)))

    def hide(self, text: str) -> str:
        for word in self._words:
            if word in text:
                text = text.replace(word, HIDDEN)
        return text


def list_words(token: str, endpoint: str) -> list[str]:
    """What must not be told of a token and of a datastore's endpoint: the password, as it is written and as it is meant."""
    words = [secret_of(token), endpoint if _PASSWORD.search(endpoint) else ""]
    for found in _PASSWORD.finditer(endpoint):
        password = found[1] or found[2]
        words += [password, unquote(password)]
    return [word for word in words if word]


def load_words(folders: ClusterFolders) -> list[str]:
    """Of what K3s is started with. Blocking; files that are not there or cannot be read hold none."""
    token = (files.load_file(folders.token) or b"").decode(errors="replace").strip()
    try:
        config = yaml.safe_load(files.load_file(folders.config) or b"")
    except yaml.YAMLError:
        config = None
    endpoint = config.get("datastore-endpoint") if isinstance(config, dict) else None
    return list_words(token, str(endpoint or ""))
