"""What NetworkManager has, against what it should have. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from eaves.node.ports.model import Changes, LinkState, Profile, SeenLink, SeenManager
from eaves.node.ports.modem_model import ModemState, SeenModem, explain_modem


def plan_changes(wanted: Sequence[Profile], seen: SeenManager) -> Changes:
    """Profiles to add, to bring up (what others stand on first), to let come up by themselves, and to delete."""
    add = tuple(profile for profile in wanted if profile.uuid not in seen.profiles)
    fresh = [_choose(group) for group in _group(wanted) if not any(_is_active(profile, seen) for profile in group)]
    # NetworkManager lets a bridge's or a bond's cables go when that gets another profile.
    left = {profile.interface for profile in fresh if profile.is_software}
    activate = tuple(
        profile
        for profile in wanted
        if (profile in fresh or _find_master(profile) in left)
        and (not profile.is_modem or is_modem_ready(profile, seen))
    )
    confirm = tuple(profile for profile in wanted if profile.uuid in seen.unconfirmed)
    own = {profile.uuid for profile in wanted}
    delete = tuple(sorted(uuid for uuid in seen.profiles if uuid not in own))
    return Changes(add, activate, confirm, delete)


def find_faults(wanted: Sequence[Profile], seen: SeenManager) -> dict[str, str]:
    """Label of a port → why it is not up."""
    faults = {}
    for group in _group(wanted):
        if not group[0].label or any(_is_up(profile, seen) for profile in group):
            continue
        faults[group[0].label] = _explain(group[0], _find_link(group[0], seen), seen)
    return faults


def is_modem_ready(profile: Profile, seen: SeenManager) -> bool:
    """Whether a call can be made: ModemManager takes its time, and a closed card a PIN."""
    link = _find_link(profile, seen)
    modem = _find_modem(link, seen)
    return link is not None and (modem is None or modem.state not in _NOT_READY)


_NOT_READY = (ModemState.FAILED, ModemState.UNKNOWN, ModemState.INITIALIZING, ModemState.LOCKED)


def _group(wanted: Sequence[Profile]) -> Iterator[list[Profile]]:
    """The profiles of one port together, in their order."""
    for _, group in itertools.groupby(wanted, key=lambda profile: profile.label or profile.name):
        yield list(group)


def _choose(group: Sequence[Profile]) -> Profile:
    """The one of the highest priority; NetworkManager goes on to the others by itself."""
    return max(group, key=lambda profile: int(str(profile.settings["connection"]["autoconnect-priority"])))


def _find_master(profile: Profile) -> str:
    return str(profile.settings["connection"].get("master", ""))


def _find_link(profile: Profile, seen: SeenManager) -> SeenLink | None:
    if profile.interface:
        return seen.links.get(profile.interface)
    modems = [link for link in seen.links.values() if link.modem]
    return next((link for link in modems if link.profile == profile.uuid), next(iter(modems), None))


def _is_active(profile: Profile, seen: SeenManager) -> bool:
    link = _find_link(profile, seen)
    is_there = link is not None and link.profile == profile.uuid and link.state is not LinkState.DOWN
    return is_there and not _is_left_behind(profile, seen)


def _is_left_behind(profile: Profile, seen: SeenManager) -> bool:
    """A cable that waits for an earlier activation of its bridge or bond, and would for ever.

    NetworkManager 1.52 leaves it so when it goes back to a checkpoint and brings the cable up again before the bridge.
    """
    link, above = _find_link(profile, seen), seen.links.get(_find_master(profile))
    return link is not None and link.state is LinkState.COMING and above is not None and above.state is LinkState.UP


def _is_up(profile: Profile, seen: SeenManager) -> bool:
    link = _find_link(profile, seen)
    return link is not None and link.profile == profile.uuid and link.state is LinkState.UP


def _explain(profile: Profile, link: SeenLink | None, seen: SeenManager) -> str:
    if profile.is_modem and (said := _explain_modem(profile, link, seen)):
        return f"{link.interface if link is not None else 'the modem'} is not up: {said}"
    if link is None:
        return f"{profile.interface or 'a modem'} does not exist"
    if link.reason:
        return f"{link.interface} is not up: {link.reason}"
    return f"{link.interface} is not up yet" if link.state is LinkState.COMING else f"{link.interface} is not up"


def _explain_modem(profile: Profile, link: SeenLink | None, seen: SeenManager) -> str:
    modem = _find_modem(link, seen)
    if modem is None:
        return seen.modem_problem
    closed = seen.modem_faults.get(modem.card_id, "") if modem.state is ModemState.LOCKED else ""
    return closed or explain_modem(modem, forbids_roaming=bool(profile.settings["gsm"].get("home-only")))


def _find_modem(link: SeenLink | None, seen: SeenManager) -> SeenModem | None:
    """NetworkManager may leave out one that is of no use."""
    if link is None:
        return next(iter(seen.modems), None)
    return next((modem for modem in seen.modems if modem.path == link.modem), None)
