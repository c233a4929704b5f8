"""What a small guest does: the script that it reads from its share. Pure."""

from __future__ import annotations

import posixpath
import shlex

from eaves.node.vms.isolation.model import EXIT, ContainerGuest, ImageConfig, Owner
from eaves.node.vms.isolation.packing import SCRIPT

_NINE_P = "trans=virtio,version=9p2000.L,msize=262144"
_DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TOOL = "/dev/busybox-eaves"
"""busybox, on the guest's own device file system: no image has to bring anything. By its name it knows that it is called whole."""

DHCP = """#!/bin/sh
case "$1" in bound|renew)
  ip link set dev $interface mtu ${mtu:-1500}
  ip addr flush dev $interface
  ip addr add $ip/$mask dev $interface
  for gateway in $router; do ip route replace default via $gateway; done
  set -- $staticroutes
  while [ $# -ge 2 ]; do ip route replace $1 via $2; shift 2; done;;
esac
"""
POWER = """#!/bin/sh
kill -TERM $(cat /app.pid) 2>/dev/null || poweroff -f
"""


def want_command(guest: ContainerGuest, image: ImageConfig) -> tuple[str, ...]:
    """As podman does: a command replaces the image's entrypoint and its arguments, arguments alone its arguments."""
    if guest.command:
        return (*guest.command, *guest.args)
    return (*image.entrypoint, *(guest.args or image.cmd))


def render_run(guest: ContainerGuest, image: ImageConfig, owner: Owner) -> str:
    """``run.sh``: mounts, network, the command as ``owner``, its exit code, power off."""
    lines = [
        f"mount -t 9p -o {_NINE_P} root /new",
        "for kind in proc sysfs; do mkdir -p /new/${kind%fs}; mount -t $kind $kind /new/${kind%fs}; done",
        "mkdir -p /new/dev && mount -t devtmpfs dev /new/dev",
        "mkdir -p /new/dev/pts /new/dev/shm && mount -t devpts devpts /new/dev/pts && mount -t tmpfs shm /new/dev/shm",
        *_render_shares(guest),
        *_render_files(guest),
        f"mkdir -p {shlex.quote('/new' + posixpath.normpath(_want_folder(guest, image)))}",
        # What the app writes comes out as it is.
        "stty -onlcr",
        f"hostname {shlex.quote(guest.hostname)}",
        "ip link set lo up",
        "for link in /sys/class/net/eth*; do",
        "  [ -e $link ] && ip link set ${link##*/} up && udhcpc -q -n -t 10 -T 1 -i ${link##*/} -s /share/dhcp.sh >/dev/null 2>&1",
        "done",
        "cp /share/power.sh /etc/acpi/PWRF/00000080 && acpid -l /dev/null -p /acpid.pid",
        f"cp /bin/busybox /new{_TOOL}",
        f"{shlex.join(_want_argv(guest, image, owner))} </dev/null &",
        "app=$!",
        "echo $app > /app.pid",
        f"(while :; do /{SCRIPT}; sleep 1; done) </dev/null >/dev/null 2>&1 &",
        "wait $app",
        f"echo $? > /share/{EXIT}",
        "sync",
        "poweroff -f",
    ]
    return "\n".join(lines) + "\n"


def render_identity(guest: ContainerGuest, image: ImageConfig, owner: Owner) -> bytes:
    """Who the command is, for the agent, whose commands are the same: user, group, folder, variables."""
    words = (str(owner.uid), str(owner.gid), _want_folder(guest, image), *_want_env(guest, image, owner))
    return b"\0".join(word.encode(errors="surrogateescape") for word in words)


def _want_env(guest: ContainerGuest, image: ImageConfig, owner: Owner) -> list[str]:
    first = (_DEFAULT_PATH, f"HOSTNAME={guest.hostname}", f"HOME={owner.home}", *image.env)
    named = dict(text.partition("=")[::2] for text in first)
    named |= {name: value.reveal() for name, value in guest.env.items()}
    return [f"{name}={value}" for name, value in named.items()]


def _want_folder(guest: ContainerGuest, image: ImageConfig) -> str:
    return guest.working_dir or image.working_dir or "/"


def _want_argv(guest: ContainerGuest, image: ImageConfig, owner: Owner) -> list[str]:
    argv = ["chroot", "/new", _TOOL, "env", "-i", *_want_env(guest, image, owner)]
    argv += [_TOOL, "sh", "-c", 'cd "$0" && exec "$@"', _want_folder(guest, image)]
    command = want_command(guest, image)
    if owner.uid or owner.gid:
        argv += [_TOOL, "start-stop-daemon", "-S", "-c", f"{owner.uid}:{owner.gid}", "-x", command[0], "--"]
        return [*argv, *command[1:]]
    return [*argv, *command]


def _render_shares(guest: ContainerGuest) -> list[str]:
    lines = []
    for number, share in enumerate(guest.shares):
        target = shlex.quote(f"/new{posixpath.normpath(share.target)}")
        option = ",ro" if share.read_only else ""
        lines.append(f"mkdir -p {target} && mount -t 9p -o {_NINE_P}{option} volume{number} {target}")
    return lines


def _render_files(guest: ContainerGuest) -> list[str]:
    wanted = [("resolv.conf", "/etc/resolv.conf"), ("hosts", "/etc/hosts")]
    wanted += [(f"files/{number}", file.path) for number, file in enumerate(guest.files)]
    lines = []
    for name, path in wanted:
        target = shlex.quote(f"/new{posixpath.normpath(path)}")
        lines.append(f"mkdir -p $(dirname {target}) && touch {target} && mount --bind /share/{name} {target}")
    return lines
