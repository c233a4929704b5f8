"""``kubectl eaves k3s-release import``: a K3sRelease from the checksum files that K3s publishes with each release.

One file an architecture, ``sha256sum-ARCH.txt``, names every file with its SHA-256. The digests are what nodes check, so they come by
HTTPS or from a file; the files themselves may then lie on any server.
"""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from eaves.cli.kubectl import Kubectl, KubectlError
from eaves.kinds.k3s_version import FORM, parse_k3s_version
from eaves.kit.errors import EavesError

EXAMPLES = """Examples:

\b
  # Files mirrored at https://files.example/k3s/v1.34.2+k3s1/: Datastore k3s has url https://files.example and path k3s
  kubectl eaves k3s-release import v1.34.2+k3s1 --datastore k3s
  # Without a way to the net: the checksum file was brought along
  kubectl eaves k3s-release import v1.34.2+k3s1 --datastore k3s --checksums ./sha256sum-amd64.txt
  # Two architectures, files in one folder, without air-gap images
  kubectl eaves k3s-release import v1.34.2+k3s1 --datastore k3s --arch amd64 --arch arm64 --folder k3s-files --no-images
"""

UPSTREAM = "https://github.com/k3s-io/k3s/releases/download/{version}/sha256sum-{arch}.txt"
BINARIES = {"amd64": "k3s", "arm64": "k3s-arm64", "arm": "k3s-armhf"}
"""Architecture → the program's file, as K3s publishes it."""
BUNDLES = ("k3s-airgap-images-{arch}.tar.zst", "k3s-airgap-images-{arch}.tar.gz", "k3s-airgap-images-{arch}.tar")
"""The air-gap images, the smallest form first."""
_LINE = re.compile(r"([0-9a-f]{64})[ \t]+\*?(\S+)")
_MOST_BYTES = 1 << 20
_TIMEOUT_S = 30


class ImportOptions(Struct, frozen=True):
    """The command's options. ``checksums`` are files or URLs, ``{arch}`` in them stands for each architecture."""

    version: str
    datastore: str
    checksums: Sequence[str] = ()
    architectures: Sequence[str] = tuple(BINARIES)
    folder: str = ""
    """Below the Datastore's own path; the version when empty."""
    name: str = ""
    with_images: bool = True


def load_sums(options: ImportOptions, read: Callable[[str], str]) -> dict[str, str]:
    """File name → SHA-256 of everything that the checksum files name. Raises EavesError."""
    if parse_k3s_version(options.version) is None:
        raise EavesError(f"{options.version!r} is no version of K3s", resolution=FORM)
    sources = list(options.checksums) or [UPSTREAM.replace("{version}", options.version.replace("+", "%2B"))]
    texts = [source.replace("{arch}", arch) for source in sources for arch in options.architectures]
    sums: dict[str, str] = {}
    for source in dict.fromkeys(texts):
        found = {name.rpartition("/")[2]: digest for digest, name in _LINE.findall(read(source))}
        if not found:
            raise EavesError(
                f"{source} names no file with its SHA-256",
                resolution="give a sha256sum-ARCH.txt of a K3s release: lines of a digest and a file name",
            )
        for name, digest in found.items():
            if sums.setdefault(name, digest) != digest:
                raise EavesError(
                    f"the checksum files name two digests of {name}", resolution="give those of one release"
                )
    return sums


def read_source(source: str) -> str:
    """The text of a checksum file, by path or HTTPS. Raises EavesError."""
    if "://" not in source:
        try:
            return Path(source).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise EavesError(
                f"{source} cannot be read: {error}", resolution="name a checksum file or its URL"
            ) from error
    if not source.startswith("https://"):
        raise EavesError(
            f"{source} is not https://",
            resolution="digests are what nodes trust; fetch the file yourself and give its path",
        )
    try:
        with urllib.request.urlopen(source, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - HTTPS alone, as checked above
            return str(answer.read(_MOST_BYTES).decode())
    except (urllib.error.URLError, TimeoutError, UnicodeDecodeError, OSError) as error:
        raise EavesError(
            f"{source} cannot be fetched: {error}",
            resolution="fetch it on a machine that can, and give the file with --checksums; --arch leaves architectures out",
        ) from error


def render_release(options: ImportOptions, sums: Mapping[str, str]) -> dict[str, Any]:
    """The K3sRelease object. Raises EavesError for an architecture whose program is not there."""
    builds = []
    for arch in options.architectures:
        if BINARIES[arch] not in sums:
            # A file given for one architecture alone means that one; files by pattern must have all.
            if options.checksums and not any("{arch}" in source for source in options.checksums):
                continue
            raise EavesError(
                f"the checksum files do not name {BINARIES[arch]}", resolution=f"leave {arch} out with --arch"
            )
        build: dict[str, Any] = {"architecture": arch, "binary": _file(options, BINARIES[arch], sums)}
        bundle = next((name for text in BUNDLES if (name := text.format(arch=arch)) in sums), None)
        if options.with_images and bundle is not None:
            build["images"] = [_file(options, bundle, sums)]
        builds.append(build)
    if not builds:
        wanted = ", ".join(BINARIES[arch] for arch in options.architectures)
        raise EavesError(f"the checksum files name none of {wanted}", resolution="give those of a K3s release")
    name = options.name or options.version.replace("+", "-")
    spec = {"version": options.version, "architectures": builds}
    return {"apiVersion": "eaves.dev/v1alpha1", "kind": "K3sRelease", "metadata": {"name": name}, "spec": spec}


def _file(options: ImportOptions, name: str, sums: Mapping[str, str]) -> dict[str, Any]:
    folder = options.folder.strip("/") or options.version
    return {"datastoreRef": {"name": options.datastore}, "path": f"{folder}/{name}", "sha256": sums[name]}


def save_release(kubectl: Kubectl, document: dict[str, Any]) -> str:
    """Create it, or bring one that is there up to date; answers what was done. Raises KubectlError."""
    name = document["metadata"]["name"]
    try:
        known = kubectl.get("k3srelease", name)
    except KubectlError as error:
        if not error.not_found:
            raise
        kubectl.create(document)
        return "created"
    if known["spec"] == document["spec"]:
        return "unchanged"
    kubectl.merge_patch("k3srelease", name, {"spec": document["spec"]})
    return "configured"
