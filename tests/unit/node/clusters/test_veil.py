"""No credential of a cluster is in what is told of K3s."""

from __future__ import annotations

from pathlib import Path

import pytest

from eaves.node.clusters.model import ClusterFolders
from eaves.node.clusters.veil import HIDDEN, Veil, list_words, load_words


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        ("postgres://k3s:p%40ss!word@10.0.0.9:5432/k3s?sslmode=disable", ["p%40ss!word", "p@ss!word"]),
        ("postgres://k3s:odd/and@word@10.0.0.9/k3s", ["odd/and@word"]),
        ("mysql://k3s:password@tcp(10.0.0.9:3306)/k3s", ["password"]),
        ("postgres://10.0.0.9/k3s?user=k3s&password=secret&sslmode=disable", ["secret"]),
    ],
)
def test_a_datastores_password_is_hidden_in_any_form(endpoint: str, words: list[str]) -> None:
    veil = Veil()
    veil.learn(list_words("", endpoint))
    for word in (endpoint, *words):
        assert veil.hide(f"level=fatal msg=\"building kine: '{word}': no route\"") == (
            f"level=fatal msg=\"building kine: '{HIDDEN}': no route\""
        )


def test_what_is_no_secret_stays_readable() -> None:
    veil = Veil()
    veil.learn(list_words("", "https://10.0.0.9:2379,https://10.0.0.10:2379"))
    assert veil.hide("dial https://10.0.0.9:2379") == "dial https://10.0.0.9:2379"
    veil.learn(list_words("K10abc::server:the-token", ""))
    assert veil.hide("K10abc::server:the-token") == f"K10abc::server:{HIDDEN}"


def test_words_come_from_what_k3s_is_started_with(tmp_path: Path) -> None:
    folders = ClusterFolders(tmp_path, tmp_path)
    assert load_words(folders) == []
    folders.token.write_text("the-token\n")
    folders.config.write_text("datastore-endpoint: postgres://a:hidden@h/k\n")
    assert load_words(folders) == ["the-token", "postgres://a:hidden@h/k", "hidden", "hidden"]
    folders.config.write_text("{")
    assert load_words(folders) == ["the-token"]


def test_a_former_token_stays_hidden() -> None:
    veil = Veil()
    veil.learn(["former-token"])
    veil.learn(["newer-token", "ab"])
    assert veil.hide("former-token newer-token ab") == f"{HIDDEN} {HIDDEN} ab"
