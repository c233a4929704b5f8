"""A K3s release's files for one node: the program and the bundles for its processor, as content trees of its config."""

from __future__ import annotations

from msgspec import Struct

from eaves.controller.compile.draft import Draft
from eaves.controller.compile.errors import HeldBackError
from eaves.controller.compile.identifiers import derived_id
from eaves.controller.compile.images import ImageSource, want_content_tree
from eaves.controller.compile.lookup import Lookup
from eaves.controller.compile.model import NodeCipher
from eaves.kinds.edgenode import EdgeNode
from eaves.kinds.k3scluster import K3sCluster
from eaves.kinds.k3srelease import ReleaseFile
from eaves.kube.quantity import parse_bytes
from eaves.wire.pb.config.storage_pb2 import RAW


class ReleaseTrees(Struct, frozen=True):
    """Content trees of a release's files. One file is one tree, whichever cluster or version wants it."""

    binary_id: str
    bundle_ids: tuple[str, ...]


def want_files(
    cluster: K3sCluster, version: str, node: EdgeNode, cipher: NodeCipher | None, draft: Draft, lookup: Lookup
) -> ReleaseTrees:
    """Adds the files of ``version`` to the draft. Raises :class:`HeldBackError`."""
    namespace = cluster.metadata.namespace
    release = lookup.k3s_release(namespace, version, cluster.spec.release)
    inventory = node.status.inventory
    architecture = inventory.architecture if inventory is not None else ""
    build = next((build for build in release.spec.architectures if build.architecture == architecture), None)
    if build is None:
        where = f"K3sRelease {release.metadata.name}"
        text = f"{where} has no files for {architecture}" if architecture else "the node has not told its processor yet"
        raise HeldBackError("ArchitectureMissing", text)

    def add(file: ReleaseFile, name: str) -> str:
        tree_id = derived_id("k3s", namespace, file.datastore_ref.name, file.path, file.sha256)
        source = ImageSource(namespace, f"{file.path}@sha256:{file.sha256}", file.datastore_ref.name)
        want_content_tree(tree_id, name, source, draft, lookup, cipher, iformat=RAW)
        if file.size is not None:
            draft.trees[tree_id].maxSizeBytes = parse_bytes(file.size)
        return tree_id

    return ReleaseTrees(
        add(build.binary, f"k3s {release.spec.version}"),
        tuple(add(image, f"images of k3s {release.spec.version}") for image in build.images),
    )
