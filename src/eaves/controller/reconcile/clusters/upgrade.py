"""Members get another version in order: servers one by one, then agents, each drained before and healthy after.

Before anybody is drained, the files of the new version are fetched and tried, by all servers that are behind and by each agent.

All of it follows from what is observed, so it goes on after any crash where it was. Nobody is touched while another member that was
touched is not well again: that is how an upgrade stops, and the reason is said.
"""

from __future__ import annotations

from eaves.controller.reconcile.clusters import eve
from eaves.controller.reconcile.clusters.draft import Activity, Draft
from eaves.controller.reconcile.clusters.election import leader_beside
from eaves.controller.reconcile.clusters.members import joining_version
from eaves.kinds.k3s_version import explain_skew, parse_k3s_version
from eaves.kinds.k3scluster_status import K3sMemberStatus, MemberRole
from eaves.kinds.k3scluster_status import MemberWish as Wish

_TOLD = 5
"""Members of many that a message names."""


def upgrade_members(draft: Draft, *, is_free: bool) -> None:
    """One step. ``is_free``: nothing else goes on, so that a further member may be begun with."""
    target = draft.spec.version
    _follow_before_start(draft)
    if not draft.initialized:
        return
    fault = find_obstacle(draft)
    for member in draft.obeying():
        _want_next(draft, member, is_held=fault is not None)
    for member in draft.staying():
        _end(draft, member)
    behind = [member for member in draft.obeying() if member.version != target]
    under_way = [member for member in draft.obeying() if _is_under_way(draft, member)]
    for member in under_way:
        _tell_progress(draft, member)
    if not behind:
        return
    if fault is not None and not under_way:
        draft.say(Activity.UPGRADING, fault[0], fault[1])
        return
    _begin_next(draft, behind, under_way, is_free=is_free)


def find_obstacle(draft: Draft) -> tuple[str, str] | None:
    """Why no upgrade to the spec's version can begin: reason and text."""
    if text := _explain_skew(draft):
        return "VersionSkew", text
    if draft.spec.upgrade.paused:
        return "Paused", "spec.upgrade.paused is true; set it to false to go on"
    return None


def _explain_skew(draft: Draft) -> str:
    target, span = parse_k3s_version(draft.spec.version), draft.find_span()
    if text := explain_skew(*span, target) if target is not None and span is not None else "":
        return text
    roles = sorted({member.role for member in draft.obeying()})
    return next((text for role in roles if (text := eve.explain_skew(draft, role))), "")


def _follow_before_start(draft: Draft) -> None:
    """Who has not started yet changes its mind at no cost. One that has may have written what another version does not read."""
    for member in (*draft.servers(), *draft.agents()):
        if member.runs_eve:
            continue
        if member.stopped and not member.has_data and not member.joined:
            version = joining_version(draft, member.role) if draft.initialized else draft.spec.version
            draft.change(member, version=version)
        elif not draft.initialized and member.role is MemberRole.SERVER and member.version != draft.spec.version:
            if fault := _explain_skew(draft):
                draft.say(Activity.UPGRADING, "VersionSkew", fault)
            else:
                draft.change(member, version=draft.spec.version)


def _is_under_way(draft: Draft, member: K3sMemberStatus) -> bool:
    """Touched, and not done with. An agent out of reach is not waited for."""
    if member.role is MemberRole.AGENT and not draft.is_connected(member):
        return False
    is_new = bool(member.version_since) and member.joined
    return member.want is Wish.DRAINED or (is_new and (member.running_version != member.version or not member.ready))


def _end(draft: Draft, member: K3sMemberStatus) -> None:
    """Drained → new version; new version that runs → ready again. The spec may have changed its mind meanwhile."""
    if member.want is not Wish.DRAINED:
        return
    if member.runs_eve:
        # It was drained to leave, and is wanted again.
        draft.change(member, want=Wish.READY)
        return
    target = draft.spec.version
    has_settled = (
        member.running_version == member.version and draft.is_connected(member) and member.state in ("Ready", "")
    )
    is_drained = member.drained or not member.ready or not draft.can_drain
    if member.version != target and is_drained and _may_get(draft, member):
        if has_fetched(draft, member):
            draft.change(member, version=target, next_version="")
    elif has_settled and (member.version == target or not _may_get(draft, member)):
        draft.change(member, want=Wish.READY)


def is_changing(member: K3sMemberStatus) -> bool:
    """Whether another version is on its way to the member."""
    return member.running_version != member.version or not member.ready


def _may_get(draft: Draft, member: K3sMemberStatus) -> bool:
    """Whether it is this member's turn for the spec's version: one server at a time, agents after them, and no minor is left out."""
    servers = [
        other
        for other in draft.servers()
        if not other.stopped and not other.runs_eve and other.node_name != member.node_name
    ]
    if member.role is MemberRole.AGENT and any(other.running_version != draft.spec.version for other in servers):
        return False
    if member.role is MemberRole.SERVER and any(other.joined and is_changing(other) for other in servers):
        return False
    return _explain_skew(draft) == ""


def _tell_progress(draft: Draft, member: K3sMemberStatus) -> None:
    member = draft.members[member.node_name]
    why = f": {member.message}" if member.message else ""
    is_to_change = member.want is Wish.DRAINED and member.version != draft.spec.version
    if is_to_change and member.drained and not has_fetched(draft, member):
        # The spec changed its mind after the drain.
        draft.say(Activity.UPGRADING, "Fetching", _fetching(draft, [member]))
        return
    if is_to_change and not member.drained and member.ready:
        is_long = draft.has_passed(member.want_since, draft.spec.upgrade.drain_timeout)
        text = f"{member.node_name} is being drained{why}"
        draft.say(Activity.UPGRADING, "DrainBlocked" if is_long else "Draining", text)
        if is_long:
            draft.say(Activity.FAULT, "DrainBlocked", f"the drain does not end: {text}")
        return
    is_long = draft.has_passed(member.version_since, draft.spec.upgrade.health_timeout)
    text = f"{member.node_name} gets {member.version}{why}"
    draft.say(Activity.UPGRADING, "HealthTimeout" if is_long else "Upgrading", text)
    if is_long:
        after = (
            f"{member.node_name} is not ready {draft.spec.upgrade.health_timeout} after it got {member.version}{why}"
        )
        draft.say(Activity.FAULT, "HealthTimeout", f"the upgrade stands still: {after}")


def _begin_next(
    draft: Draft, behind: list[K3sMemberStatus], under_way: list[K3sMemberStatus], *, is_free: bool
) -> None:
    servers = [member for member in behind if member.role is MemberRole.SERVER and member.want is Wish.READY]
    agents = [member for member in behind if member.role is MemberRole.AGENT and member.want is Wish.READY]
    is_server_under_way = any(member.role is MemberRole.SERVER for member in under_way)
    if servers or is_server_under_way:
        if servers and not under_way and is_free:
            _begin_server(draft, servers)
        elif servers and not under_way:
            draft.say(Activity.UPGRADING, "Waiting", "the upgrade begins when no member joins or leaves any more")
        return
    unready = [member for member in draft.servers() if not member.stopped and not member.ready]
    if unready:
        draft.say(Activity.UPGRADING, "MemberNotReady", _unready(unready))
        return
    _begin_agents(draft, agents, under_way)


def _begin_server(draft: Draft, servers: list[K3sMemberStatus]) -> None:
    """The leader comes last, so that somebody can drain the others; etcd bears the loss of one server when all are well."""
    unready = [member for member in draft.servers() if not member.stopped and not member.ready]
    if unready:
        draft.say(Activity.UPGRADING, "MemberNotReady", _unready(unready))
        return
    chosen = min(servers, key=lambda member: (member.node_name == draft.leader, member.node_name))
    if missing := [member for member in servers if not has_fetched(draft, member)]:
        # Nobody is touched before all could go through with it.
        draft.say(Activity.UPGRADING, "Fetching", _fetching(draft, missing))
        return
    if len(draft.servers()) > 1 and chosen.node_name == draft.leader and not leader_beside(draft, chosen):
        return
    _begin(draft, chosen)


def _begin_agents(draft: Draft, agents: list[K3sMemberStatus], under_way: list[K3sMemberStatus]) -> None:
    """Those out of reach get theirs when they come back and keep nobody waiting; of the others so many at a time."""
    for member in agents:
        if not draft.is_connected(member) and not member.ready:
            draft.change(member, version=draft.spec.version, next_version="")
    reachable = [member for member in agents if draft.is_connected(member) or member.ready]
    if missing := [member for member in reachable if not has_fetched(draft, member)]:
        draft.say(Activity.UPGRADING, "Fetching", _fetching(draft, missing))
    reachable = [member for member in reachable if member not in missing]
    busy = sum(1 for member in under_way if draft.is_connected(member) and member.role is MemberRole.AGENT)
    # Who is broken already goes first: it is not available anyhow.
    reachable.sort(key=lambda member: (member.ready, member.node_name))
    for member in reachable[: max(0, draft.spec.upgrade.max_unavailable - busy)]:
        _begin(draft, member)


def _begin(draft: Draft, member: K3sMemberStatus) -> None:
    others = [other for other in draft.staying() if other is not member and other.ready and other.want is Wish.READY]
    if draft.spec.upgrade.drain and others and member.ready and draft.can_drain:
        draft.change(member, want=Wish.DRAINED)
        draft.say(Activity.UPGRADING, "Draining", f"{member.node_name} is being drained")
    else:
        draft.change(member, version=draft.spec.version, next_version="")
        draft.say(Activity.UPGRADING, "Upgrading", f"{member.node_name} gets {draft.spec.version}")


def _want_next(draft: Draft, member: K3sMemberStatus, *, is_held: bool) -> None:
    """Who is behind fetches what it will get. While an upgrade is held up nobody begins to; what has begun goes on, if it still counts."""
    target = draft.spec.version
    wanted = target if member.version != target and member.joined and not member.stopped else ""
    if is_held and member.next_version != target:
        wanted = ""
    if member.next_version != wanted:
        draft.change(member, next_version=wanted)


def has_fetched(draft: Draft, member: K3sMemberStatus) -> bool:
    """Whether the member could start the spec's version at once; one that is not ready loses nothing by waiting for it."""
    return not member.ready or member.fetched_version == draft.spec.version


def _fetching(draft: Draft, members: list[K3sMemberStatus]) -> str:
    told = []
    for member in members[:_TOLD]:
        why = member.fetch_message or ("" if draft.is_connected(member) else member.message)
        told.append(f"{member.node_name}{f' ({why})' if why else ''}")
    more = f" and {len(members) - _TOLD} more" if len(members) > _TOLD else ""
    return f"waits for the download of {draft.spec.version} to {', '.join(told)}{more}"


def _unready(members: list[K3sMemberStatus]) -> str:
    told = ", ".join(f"{member.node_name}{f' ({member.message})' if member.message else ''}" for member in members)
    return f"the upgrade goes on when {told} is ready, or is replaced"
