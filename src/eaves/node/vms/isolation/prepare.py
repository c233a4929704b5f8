"""Makes ready what a small guest boots from: the image's root by podman, the kernel, and the folder with its orders."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import Any

import msgspec

from eaves.kit import files
from eaves.node.containers.cli import PodmanCli
from eaves.node.containers.spec import parse_owner
from eaves.node.instance import Instance
from eaves.node.vms.isolation import orders
from eaves.node.vms.isolation.kernel import want_boot_files
from eaves.node.vms.isolation.model import IDENTITY, SHARE, ContainerGuest, GuestBoot, ImageConfig, Owner
from eaves.node.workloads.errors import SpecImpossibleError
from eaves.node.workloads.paths import find_app_files


class GuestRoots:
    """The roots of small guests: containers of podman that are never started."""

    def __init__(self, instance: Instance, cli: PodmanCli) -> None:
        self._instance = instance
        self._cli = cli

    async def prepare(self, app_id: str, guest: ContainerGuest, run: Path) -> GuestBoot:
        """Raises SpecImpossibleError, ProcessError and OSError."""
        trees = (self._instance.data_dir / "guest-kernel", Path("/"))
        kernel, initrd = await asyncio.to_thread(want_boot_files, trees, self._instance.host_dir)
        inspected = await self._cli.run("image", "inspect", guest.image)
        image = parse_image(msgspec.json.decode(inspected.stdout)[0])
        if not orders.want_command(guest, image):
            raise SpecImpossibleError("neither the app nor its image has a command", element=f"app {app_id}")
        root = await self._want_root(app_id, guest)
        await asyncio.to_thread(self._write_orders, app_id, guest, image, root, run / SHARE)
        return GuestBoot(kernel, initrd, str(root), str(run / SHARE))

    async def remove(self, app_id: str) -> None:
        """The root with all that the app changed in it."""
        await self._cli.run("rm", "--force", "--ignore", "--volumes", self._name(app_id), check=False)

    async def _want_root(self, app_id: str, guest: ContainerGuest) -> Path:
        name = self._name(app_id)
        if (await self._cli.run("container", "exists", name, check=False)).returncode != 0:
            await self._cli.run("create", f"--name={name}", "--pull=never", "--network=none", guest.image, "/eaves")
        return Path((await self._cli.run("mount", name)).text.strip())

    def _write_orders(self, app_id: str, guest: ContainerGuest, image: ImageConfig, root: Path, share: Path) -> None:
        files.want_folder(share)
        files.want_folder(share / "files")
        owner = find_owner(image.user, root)
        if owner is None:
            raise SpecImpossibleError(
                f"the image's user {image.user!r} is not in its /etc/passwd", element=f"app {app_id}"
            )
        folder = find_app_files(self._instance, app_id).folder
        texts = {name: files.load_file(folder / name) or b"" for name in ("resolv.conf", "hosts")}
        texts |= {"dhcp.sh": orders.DHCP.encode(), "power.sh": orders.POWER.encode()}
        texts["run.sh"] = orders.render_run(guest, image, owner).encode()
        texts[IDENTITY] = orders.render_identity(guest, image, owner)
        for name, content in texts.items():
            files.save_file(share / name, content)
            (share / name).chmod(0o755)
        for number, file in enumerate(guest.files):
            path = share / "files" / str(number)
            files.save_file(path, file.content)
            found = parse_owner(file.owner)
            assert found is not None
            os.chown(path, *found)
            path.chmod(file.mode)

    def _name(self, app_id: str) -> str:
        return f"{self._instance.name}-{app_id}-root"


def parse_image(raw: dict[str, Any]) -> ImageConfig:
    """``podman image inspect`` → what the image says of its command."""
    config = raw.get("Config") or {}
    return ImageConfig(
        entrypoint=tuple(config.get("Entrypoint") or ()),
        cmd=tuple(config.get("Cmd") or ()),
        env=tuple(config.get("Env") or ()),
        user=config.get("User") or "",
        working_dir=config.get("WorkingDir") or "",
    )


def find_owner(user: str, root: Path) -> Owner | None:
    """An image's user, by number or by name in its own files, as podman finds it; None when the name is not there."""
    name, _, group = (user or "0").partition(":")
    name = "0" if name == "root" else name
    entry = _find_entry(root / "etc/passwd", name)
    if entry is None and not name.isdecimal():
        return None
    uid, gid = (int(entry[2]), int(entry[3])) if entry and entry[3].isdecimal() else (int(name), 0)
    if group:
        found_group = _find_entry(root / "etc/group", group)
        gid = int(found_group[2]) if found_group else int(group) if group.isdecimal() else gid
    home = entry[5] if entry and len(entry) > 5 else ""
    return Owner(uid, gid, home or ("/root" if uid == 0 else "/"))


def _find_entry(path: Path, name: str) -> list[str] | None:
    """By name or by number. ``path`` is one of the image, where anything may be."""
    # Links of an image must not lead to files of the host.
    if not re.fullmatch(r"[\w.-]+", name) or path.is_symlink() or path.parent.is_symlink():
        return None
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    entries = [fields for line in lines if len(fields := line.split(":")) > 3 and fields[2].isdecimal()]
    return next((fields for fields in entries if name in (fields[0], fields[2])), None)
