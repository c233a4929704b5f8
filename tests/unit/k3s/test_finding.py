"""Which K3s is taken, and what is said when there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from eaves.testing import k3s, kubernetes


@pytest.fixture(autouse=True)
def nothing_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("EAVES_K3S_BINARY", raising=False)
    monkeypatch.delenv("EAVES_K3S_IMAGES", raising=False)
    monkeypatch.setattr(k3s, "_may_download", lambda _: False)
    return tmp_path


def make_program(folder: Path, version: str) -> Path:
    folder.mkdir(parents=True)
    program = folder / "k3s"
    program.write_text(f"#!/bin/sh\necho 'k3s version {version} (abc)'\n")
    program.chmod(0o755)
    return program


def test_the_given_ones_come_first_with_the_images_beside_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = [
        make_program(tmp_path / name, version) for name, version in (("new", "v1.35.1+k3s1"), ("old", "v1.34.2+k3s1"))
    ]
    for program in programs:
        (program.parent / f"k3s-airgap-images-{k3s._ARCHITECTURE}.tar.zst").touch()
    monkeypatch.setenv("EAVES_K3S_BINARY", ":".join(map(str, programs)))
    found = k3s.find_releases()
    assert [(release.version, release.is_standin) for release in found] == [
        ("v1.35.1+k3s1", False),
        ("v1.34.2+k3s1", False),
    ]


def test_a_given_one_without_images_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EAVES_K3S_BINARY", str(make_program(tmp_path / "new", "v1.35.1+k3s1")))
    with pytest.raises(k3s.NoK3sError, match="no images for"):
        k3s.find_releases()


def test_a_verified_release_is_taken(nothing_cached: Path) -> None:
    folder = nothing_cached / "eaves" / "k3s" / k3s.OFFICIAL[0]
    folder.mkdir(parents=True)
    (folder / "verified").touch()
    assert [release.version for release in k3s.find_releases()] == [k3s.OFFICIAL[0]]


def test_without_go_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_go() -> str:
        raise kubernetes.BuildError("Go is not installed: install Go 1.26")

    monkeypatch.setattr(kubernetes, "find_go", no_go)
    with pytest.raises(k3s.NoK3sError, match="set EAVES_K3S_BINARY to one, or Go is not installed: install Go"):
        k3s.find_releases()


def test_with_go_and_nothing_built_the_command_is_named() -> None:
    try:
        kubernetes.find_go()
    except kubernetes.BuildError:
        return
    with pytest.raises(k3s.NoK3sError, match=r"tools/build_kubernetes\.py"):
        k3s.find_releases()


def test_a_changed_module_is_built_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = kubernetes.Module("front", {"front": "."})
    folder = tmp_path / "modules" / "front"
    folder.mkdir(parents=True)
    monkeypatch.setattr(kubernetes, "MODULES", folder.parent)
    (folder / "go.mod").write_text("module a\n")
    first = kubernetes._folder(module)
    (folder / "go.mod").write_text("module b\n")
    assert kubernetes._folder(module) != first
