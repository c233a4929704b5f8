"""Parts of a config that nothing on this node obeys: told as problems of the node, so that nobody waits for their effect in vain. Pure."""

from __future__ import annotations

from eaves.node.desired.draft import Draft
from eaves.node.desired.model import ObjectKind
from eaves.wire.pb.config.devconfig_pb2 import EdgeDevConfig


def refuse_unsupported(config: EdgeDevConfig, draft: Draft) -> None:
    """One problem for each such part that the config has."""
    wishes = {
        "edge-view": bool(config.edgeview.token),
        "local profile server": bool(config.local_profile_server),
        "local operator console": bool(config.loc_config.loc_url),
        "disk layout": config.HasField("disks"),
        "802.1X of ports": bool(config.pnacs),
        "certificate enrolment": bool(config.scep_profiles),
    }
    for name, is_wanted in wishes.items():
        if is_wanted:
            draft.add(
                ObjectKind.NODE,
                "",
                name,
                "SectionUnsupported",
                "this node does not do what the config asks for here; the rest of the config is in force",
                "take it out of the config of this node",
            )
