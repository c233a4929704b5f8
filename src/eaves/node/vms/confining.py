"""What QEMU may still do once its guest runs: as whom it runs, with which capabilities and system calls. Pure.

QEMU opens disks, taps, sockets and devices while it starts, as root, and then becomes a user of the machine's own that owns nothing on
the node. A guest that breaks out of QEMU is that user: it has the descriptors of its machine and no more. Two kinds of machines need
root for as long as they run and keep it with the capabilities that they need, see :func:`want_confinement`.
"""

from __future__ import annotations

import hashlib

from msgspec import Struct

from eaves.node.vms.model import VmHost, VmSpec

FIRST_USER = 0x7000_0000
"""Users of machines have numbers from here on, which systemd leaves to nobody (its "Users, Groups, UIDs and GIDs", unused range)."""
USERS = 1 << 24

_FILE_OWNER = ("chown", "dac_override", "fowner", "fsetid", "setfcap")
"""What a server of files needs that gives each the owner and the mode that its guest asks for."""
_BECOME_USER = ("setuid", "setgid")
_RUN_WITH = (9, 1)
"""The version from which on the user is named by ``-run-with``."""
_SANDBOX = "on,obsolete=deny,spawn=deny,resourcecontrol=deny"


class Confinement(Struct, frozen=True):
    """``launcher`` goes before QEMU's command, ``options`` are added to it."""

    launcher: tuple[str, ...]
    options: tuple[str, ...]


def want_confinement(spec: VmSpec, host: VmHost) -> Confinement:
    """Of one machine.

    A container with a kernel of its own has its files by 9p, which gives them their owners, and USB devices are opened again whenever
    they are plugged in: both keep root, the latter without any capability.
    """
    memory = bool(spec.devices.pci)
    if spec.container is not None:
        return Confinement(
            _want_launcher(_FILE_OWNER, memory=memory), ("-sandbox", f"{_SANDBOX},elevateprivileges=deny")
        )
    if spec.devices.usb:
        return Confinement(_want_launcher((), memory=memory), ("-sandbox", f"{_SANDBOX},elevateprivileges=deny"))
    user = want_user(spec.app_id)
    become = ("-run-with", f"user={user}:{user}") if host.qemu_version >= _RUN_WITH else ("-runas", f"{user}:{user}")
    # The filter is in force before QEMU becomes that user, so it must let it; without capabilities nobody can become another.
    return Confinement(_want_launcher(_BECOME_USER, memory=memory), ("-sandbox", _SANDBOX, *become))


def want_helper_launcher() -> tuple[str, ...]:
    """Before the command of a program that serves QEMU: root's files, none of its powers."""
    return _want_launcher((), memory=False)


def want_user(app_id: str) -> int:
    """User and group of a machine: another one for each."""
    return FIRST_USER + int.from_bytes(hashlib.sha256(app_id.encode()).digest()[:3], "big") % USERS


def _want_launcher(capabilities: tuple[str, ...], *, memory: bool) -> tuple[str, ...]:
    """``memory``: a device of the host reads the guest's memory, all of which is then locked."""
    bounds = ",".join(("-all", *(f"+{name}" for name in capabilities)))
    confined = ("setpriv", "--no-new-privs", "--inh-caps=-all", f"--bounding-set={bounds}", "--")
    return ("prlimit", "--memlock=unlimited:unlimited", "--", *confined) if memory else confined
