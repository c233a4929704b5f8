"""Builds real Kubernetes, containerd, etcd, kine, CNI plugins and CoreDNS from Go modules, once a machine.

Used by ``tools/build_kubernetes.py`` (which ``make setup`` calls), by the stand-in for K3s in ``tests/k3s`` and by benchmarks. Each folder
below ``tests/k3s/modules`` is a Go module; its programs are kept in a folder of the cache that is named after a hash of the module's files,
so that checkouts share them and a changed module is built anew.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from eaves.testing import movable_clock

MODULES = Path(__file__).resolve().parents[3] / "tests" / "k3s" / "modules"
VERSIONS = ("v1.37.2+k3s1", "v1.36.3+k3s1")
"""Versions of K3s that the stand-in bears, newest first: each has the Kubernetes of its number inside."""
LEAST_GO = (1, 26)
LIMIT_S = 1800.0
"""A cold build of everything takes about 20 minutes on two cores that have nothing else to do."""
_KUBERNETES = "kubernetes-"
_CONTAINERD = "github.com/containerd/containerd/v2"
_CRICTL = "sigs.k8s.io/cri-tools"
_CNI = "github.com/containernetworking/plugins/plugins"


class Module(NamedTuple):
    """``packages`` are the programs by name; ``minutes`` what the build takes on two cores with nothing cached."""

    name: str
    packages: Mapping[str, str]
    tags: str = ""
    flags: str = ""
    minutes: int = 1


class BuildError(Exception):
    """A build failed, or cannot be tried. The text says why and what to do."""


def _kubernetes(version: str) -> Module:
    number = version.partition("+")[0]
    minor = number.split(".")[1]
    stamp = "k8s.io/component-base/version"
    values = {"gitVersion": version, "gitMajor": "1", "gitMinor": minor, "gitTreeState": "clean", "gitCommit": "module"}
    values["buildDate"] = "2026-01-01T00:00:00Z"
    flags = " ".join(f"-X {stamp}.{name}={value}" for name, value in values.items())
    return Module(module_of(version), {"kube": "."}, flags=flags, minutes=6)


def module_of(version: str) -> str:
    """The module that holds the Kubernetes of a version of K3s."""
    return _KUBERNETES + ".".join(version.removeprefix("v").split(".")[:2])


def list_modules() -> list[Module]:
    """What there is to build: the newest Kubernetes and what it needs, then what some tests alone need: an older one, and Helm."""
    return [
        _kubernetes(VERSIONS[0]),
        Module("etcd", {name: f"go.etcd.io/etcd/{name}/v3" for name in ("server", "etcdctl", "etcdutl")}),
        Module(
            "containerd",
            {name: f"{_CONTAINERD}/cmd/{name}" for name in ("containerd", "containerd-shim-runc-v2", "ctr")},
            tags="no_btrfs no_zfs no_devmapper no_aufs",
            flags=f"-X {_CONTAINERD}/version.Version={_version_in('containerd', _CONTAINERD)}",
        ),
        Module("kine", {"kine": "github.com/k3s-io/kine"}),
        Module("coredns", {"coredns": "."}),
        Module(
            "cni",
            {
                p.rpartition("/")[2]: f"{_CNI}/{p}"
                for p in ("ipam/host-local", "main/bridge", "main/loopback", "meta/portmap")
            },
        ),
        Module("front", {"front": "."}),
        *[_kubernetes(version) for version in VERSIONS[1:]],
        Module("helm-controller", {"helm-controller": "github.com/k3s-io/helm-controller"}, minutes=4),
        Module("helm", {"helm": "helm.sh/helm/v3/cmd/helm"}, minutes=4),
        Module(
            "crictl",
            {"crictl": f"{_CRICTL}/cmd/crictl"},
            flags=f"-X {_CRICTL}/pkg/version.Version={_version_in('crictl', _CRICTL)}",
        ),
    ]


def list_needless() -> list[str]:
    """Modules without which a cluster runs."""
    return [*map(module_of, VERSIONS[1:]), "helm-controller", "helm", "crictl"]


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "eaves" / "kubernetes"


def find_module(name: str) -> Path | None:
    """The folder of a module's programs; None when they are not built."""
    module = next((found for found in list_modules() if found.name == name), None)
    folder = _folder(module) if module is not None else None
    return folder if folder is not None and folder.is_dir() else None


def list_missing() -> list[Module]:
    """What is to be built still."""
    return [module for module in list_modules() if not _folder(module).is_dir()]


def find_go() -> str:
    """The Go compiler. Raises BuildError when there is none that is new enough."""
    least = ".".join(map(str, LEAST_GO))
    remedy = f"install Go {least} or newer (https://go.dev/dl) and run tools/build_kubernetes.py"
    go = shutil.which("go") or next((p for p in ("/usr/local/go/bin/go",) if Path(p).exists()), None)
    if go is None:
        raise BuildError(f"Go is not installed: {remedy}")
    said = subprocess.run([go, "version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"go(\d+)\.(\d+)", said)
    if found is None or (int(found[1]), int(found[2])) < LEAST_GO:
        raise BuildError(f"{said.strip() or go} is too old: {remedy}")
    return go


def build(say: Callable[[str], None], limit_s: float = LIMIT_S, *, is_patient: bool = True) -> None:
    """Build what is missing, one builder a machine at a time: another one is waited for, or with ``is_patient`` False is an error.

    Raises BuildError, also when it takes longer than ``limit_s``.

    What Go has compiled by then it keeps, so that the next attempt goes on from there.
    """
    if not list_missing():
        return
    end = time.monotonic() + limit_s
    go = find_go()
    cache = cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if is_patient else fcntl.LOCK_NB))
        except BlockingIOError:
            raise BuildError("another process builds it now: wait for it, or go on without") from None
        missing = list_missing()
        for number, module in enumerate(missing, 1):
            say(f"{number} of {len(missing)}: {module.name} (about {module.minutes} min when nothing is cached)")
            started = time.monotonic()
            _build(go, module, end)
            say(f"{number} of {len(missing)}: {module.name} built in {time.monotonic() - started:.0f} s")


def _build(go: str, module: Module, end: float) -> None:
    folder = _folder(module)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".building-") as scratch:
        overlay = movable_clock.write_overlay(go, Path(scratch))
        for name, package in module.packages.items():
            target = Path(scratch, "programs", name)
            flags = ["-trimpath", "-buildvcs=false", "-tags", module.tags, "-ldflags", f"-s -w {module.flags}"]
            flags += ["-overlay", str(overlay)] if overlay is not None else []
            _run([go, "build", *flags, "-o", str(target), package], MODULES / module.name, end)
        if not folder.is_dir():
            Path(scratch, "programs").replace(folder)


def _run(argv: Sequence[str], folder: Path, end: float) -> None:
    environment = {
        **os.environ,
        "CGO_ENABLED": "0",
        "GOFLAGS": "-mod=readonly",
        "GOWORK": "off",
        "GOTOOLCHAIN": "local",
    }
    again = "with the network at hand, run tools/build_kubernetes.py again"
    try:
        done = subprocess.run(
            ["nice", "-n", "10", *argv],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=max(1.0, end - time.monotonic()),
        )
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"{folder.name} is not built in time: {again}") from error
    if done.returncode != 0:
        last = "\n".join(done.stderr.strip().splitlines()[-5:])
        raise BuildError(f"{folder.name} does not build: {last}\n{again}")


def _folder(module: Module) -> Path:
    made = hashlib.sha256(repr(module).encode() + movable_clock.GO_SOURCE.encode())
    for path in sorted((MODULES / module.name).iterdir()):
        made.update(path.name.encode() + b"\0" + path.read_bytes())
    return cache_folder() / f"{module.name}-{made.hexdigest()[:16]}"


def _version_in(module: str, requirement: str) -> str:
    """Which version of a requirement a module's go.mod names."""
    found = re.search(rf"{re.escape(requirement)} (v\S+)", (MODULES / module / "go.mod").read_text())
    assert found, f"{module} requires no {requirement}"
    return found[1]
