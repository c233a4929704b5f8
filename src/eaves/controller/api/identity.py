"""Who calls: the name and groups that authentication found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct

GROUP_MASTERS = "system:masters"
GROUP_AUTHENTICATED = "system:authenticated"
GROUP_UNAUTHENTICATED = "system:unauthenticated"


class Identity(Struct, frozen=True):
    """A caller as access rules see it."""

    user: str
    groups: Sequence[str]
    uid: str = ""
    extra: Mapping[str, Sequence[str]] = {}

    @property
    def is_anonymous(self) -> bool:
        return GROUP_UNAUTHENTICATED in self.groups


ANONYMOUS = Identity("system:anonymous", (GROUP_UNAUTHENTICATED,))
