"""Digests of specs tell what differs, secrets among it."""

from __future__ import annotations

from eaves.node.desired.secret import Secret, SecretBytes
from eaves.node.workloads.abc import EngineKind, WorkloadSpec
from eaves.node.workloads.spec import digest_spec


class Guarded(WorkloadSpec, frozen=True, kw_only=True):
    text: Secret
    data: SecretBytes


def digest(text: str = "a", data: bytes = b"a") -> str:
    spec = Guarded(app_id="app", engine=EngineKind.VM, text=Secret(text), data=SecretBytes(data))
    return digest_spec(spec, b"k" * 32)


def test_a_secret_of_either_kind_makes_another_digest() -> None:
    assert digest() == digest()
    assert len({digest(), digest(text="b"), digest(data=b"b"), digest(data=b"\xff\x00")}) == 4
