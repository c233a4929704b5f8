"""Versions of K3s: ``vX.Y.Z+k3sN``, which are Kubernetes X.Y.Z in K3s' N-th packaging, in order, and which may follow which."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from eaves.kinds.rules import invalid
from eaves.kube.errors import FieldError

_FORM = re.compile(r"v(0|[1-9][0-9]{0,3})\.(0|[1-9][0-9]{0,3})\.(0|[1-9][0-9]{0,3})\+k3s([1-9][0-9]{0,3})")
FORM = "must be a K3s version of the form vX.Y.Z+k3sN (e.g. v1.34.2+k3s1)"


class K3sVersion(NamedTuple):
    """Comparable: a later one is greater."""

    major: int
    minor: int
    patch: int
    packaging: int

    def __str__(self) -> str:
        return f"v{self.major}.{self.minor}.{self.patch}+k3s{self.packaging}"

    @property
    def series(self) -> tuple[int, int]:
        """Major and minor: what skew is counted in."""
        return self.major, self.minor


def parse_k3s_version(text: str) -> K3sVersion | None:
    """None for text of another form."""
    match = _FORM.fullmatch(text)
    return K3sVersion(*(int(part) for part in match.groups())) if match else None


def check_k3s_version(path: str, text: str) -> Iterator[FieldError]:
    if parse_k3s_version(text) is None:
        yield invalid(path, text, FORM)


def find_span(members: Iterable[tuple[str, str]]) -> tuple[K3sVersion, K3sVersion] | None:
    """The lowest and the highest version of a cluster whose members are given as (what runs, what it is to run); None = unknown.

    A member whose K3s is down comes back with what it is to run. It counts for the lowest, so that nobody leaves it too far behind, and
    not for the highest as long as others tell that: a version that never ran anywhere wrote nothing and may be taken back.
    """
    running, down = [], []
    for now, wanted in members:
        version = parse_k3s_version(now)
        fallback = parse_k3s_version(wanted)
        if version is not None:
            running.append(version)
        elif fallback is not None:
            down.append(fallback)
    known = running or down
    return (min(running + down), max(known)) if known else None


def explain_skew(lowest: K3sVersion, highest: K3sVersion, wanted: K3sVersion) -> str:
    """Why a cluster whose members have versions from ``lowest`` to ``highest`` cannot go to ``wanted``; empty when it can.

    As Kubernetes has it: no minor version is left out on the way up, and a datastore that a newer apiserver wrote is not read by an older.
    """
    if wanted < highest:
        return f"the cluster has {highest} already and cannot go back to {wanted}; restore a snapshot into a new cluster instead"
    if wanted.major != lowest.major or wanted.minor > lowest.minor + 1:
        step = f"v{lowest.major}.{lowest.minor + 1}"
        return f"the cluster has {lowest}, and no minor version may be left out; go to a version of {step} first"
    return ""
