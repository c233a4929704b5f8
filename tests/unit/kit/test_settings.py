"""Settings: what is accepted, and what a person is told about a mistake."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from eaves.kit.settings import SettingsError, load_settings


class Gateway(msgspec.Struct, frozen=True):
    listen: str = "0.0.0.0:8443"
    limit: int = 10


class Example(msgspec.Struct, frozen=True):
    data_dir: str = "/var/lib/x"
    names: list[str] = []
    verbose: bool = False
    gateway: Gateway = Gateway()


def load(tmp_path: Path, text: str, environment: dict[str, str] | None = None) -> Example:
    path = tmp_path / "x.toml"
    path.write_text(text)
    return load_settings(Example, path, environment or {}, "EX_")


def test_defaults_need_no_file() -> None:
    assert load_settings(Example, None, {}, "EX_") == Example()


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    got = load(
        tmp_path,
        'data_dir = "/a"\n[gateway]\nlimit = 3\n',
        {"EX_GATEWAY__LIMIT": "4", "EX_NAMES": "a,b", "EX_VERBOSE": "true", "OTHER": "1"},
    )
    assert got == Example(data_dir="/a", names=["a", "b"], verbose=True, gateway=Gateway(limit=4))


@pytest.mark.parametrize(
    ("text", "environment", "message"),
    [
        ("datadir = 'x'", {}, "unknown key datadir"),
        ("[gateway]\nport = 1", {}, "unknown key gateway.port"),
        ("[gateway]\nlimit = 'many'", {}, "gateway.limit"),
        ("not toml", {}, "is not TOML"),
        ("", {"EX_DATADIR": "x"}, "EX_DATADIR: unknown variable"),
        ("", {"EX_GATE__LISTEN": "x"}, "EX_GATE__LISTEN: unknown variable"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, environment: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, text, environment)
    assert message in str(caught.value)


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"missing\.toml: cannot be read: No such file") as caught:
        load_settings(Example, tmp_path / "missing.toml", {}, "EX_")
    assert "--config" in caught.value.resolution
