"""Desired app and its ready dependencies → the container's spec, and the spec → podman's arguments. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import msgspec
from msgspec import Struct

from eaves.node.desired.model import DesiredApp, FileToWrite, Secret
from eaves.node.hardware.plan import Assignment
from eaves.node.workloads.abc import EngineKind, Ready, WorkloadSpec
from eaves.node.workloads.errors import SpecImpossibleError
from eaves.node.workloads.spec import digest_spec

_ENV_NAME = re.compile(r"[^=\0*\s]+")

_RESERVED_ENV = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|TERM|TZ|TMPDIR|NOTIFY_SOCKET|REGISTRY_AUTH_FILE|SSL_CERT_.*|XDG_.*|DBUS_.*|LD_.*|GO[A-Z0-9_]*"
    r"|_?CONTAINERS?_.*|PODMAN_.*|STORAGE_.*|LISTEN_.*|(?i:https?_proxy|no_proxy|ftp_proxy|all_proxy)|_OCI_.*|BUILDAH_.*|SUDO_.*"
)
"""Variables that would change what podman itself does; they travel in a file instead of podman's environment."""


class Mount(Struct, frozen=True):
    source: str
    target: str
    read_only: bool = False


class ContainerSpec(WorkloadSpec, frozen=True):
    """Everything that podman needs to make a container."""

    name: str
    image: str
    hostname: str
    netns: str
    log_path: str
    root: str
    """Identity of the root volume: another one means a fresh root."""
    interfaces: tuple[str, ...] = ()
    env: Mapping[str, Secret] = {}
    files: tuple[FileToWrite, ...] = ()
    mounts: tuple[Mount, ...] = ()
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    memory_bytes: int = 0
    cpu_millis: int = 0
    devices: Assignment = Assignment()


def want_spec(app: DesiredApp, ready: Ready, *, log_path: str, key: bytes) -> ContainerSpec:
    """The spec of ``app``; ``key`` makes digests useless to who guesses secrets.

    Raises SpecImpossibleError for what no container can have.
    """
    check_app(app)
    connection = ready.connection
    spec = ContainerSpec(
        app_id=app.id,
        engine=EngineKind.CONTAINER,
        name=app.name,
        image=ready.image,
        hostname=connection.hostname,
        netns=connection.netns,
        log_path=log_path,
        root=f"{app.root_volume_id}#{app.root_generation}.{app.purge_counter}",
        interfaces=tuple(f"{i.network_id} {i.mac} {' '.join(i.addresses)}" for i in connection.interfaces),
        env=app.env,
        files=app.files,
        mounts=tuple(
            Mount(ready.volumes[mount.volume_id, mount.generation], mount.mount_path, mount.read_only)
            for mount in app.mounts
        ),
        command=app.command,
        args=app.args,
        working_dir=app.working_dir,
        memory_bytes=app.memory_bytes,
        cpu_millis=app.cpu_millis,
        devices=ready.devices,
    )
    return msgspec.structs.replace(spec, digest=digest_spec(spec, key))


def render_run(
    spec: ContainerSpec,
    *,
    name: str,
    labels: Mapping[str, str],
    cgroup_parent: str,
    pid_file: str,
    monitor_pid_file: str,
    env_file: str,
    mounts: tuple[Mount, ...],
    usb_nodes: Sequence[str] = (),
) -> list[str]:
    """Arguments of ``podman`` that make and start the container. ``mounts`` come on top of the spec's own.

    ``usb_nodes``: device files of the spec's USB devices.
    """
    args = ["run", "--detach", "--pull=never", "--restart=no", f"--name={name}", f"--hostname={spec.hostname}"]
    args += [f"--network=ns:{spec.netns}", f"--cgroup-parent={cgroup_parent}"]
    args += ["--log-driver=k8s-file", f"--log-opt=path={spec.log_path}"]
    args += [f"--pidfile={pid_file}", f"--conmon-pidfile={monitor_pid_file}"]
    args += [f"--label={label}={value}" for label, value in labels.items()]
    if spec.memory_bytes:
        args += [f"--memory={spec.memory_bytes}b", f"--memory-swap={spec.memory_bytes}b"]
    if spec.cpu_millis:
        args.append(f"--cpus={spec.cpu_millis / 1000:g}")
    if spec.working_dir:
        args.append(f"--workdir={spec.working_dir}")
    args += [f"--env={env_name}" for env_name in sorted(spec.env) if not is_reserved(env_name)]
    args += [f"--device={path}" for path in (*spec.devices.serial, *usb_nodes, *spec.devices.cdi)]
    if env_file:
        args.append(f"--env-file={env_file}")
    args += [_render_mount(mount) for mount in (*spec.mounts, *mounts)]
    if spec.command:
        args.append(f"--entrypoint={msgspec.json.encode(spec.command).decode()}")
    return [*args, spec.image, *spec.args]


def render_environment(spec: ContainerSpec) -> dict[str, str]:
    """Variables that podman takes over from its own environment; so no value is ever an argument that others can read."""
    return {name: value.reveal() for name, value in spec.env.items() if not is_reserved(name)}


def render_env_file(spec: ContainerSpec) -> str:
    """The other variables, one a line; empty = none."""
    lines = [f"{name}={value.reveal()}\n" for name, value in sorted(spec.env.items()) if is_reserved(name)]
    return "".join(lines)


def is_reserved(name: str) -> bool:
    return _RESERVED_ENV.fullmatch(name) is not None


def check_app(app: DesiredApp) -> None:
    """Raises SpecImpossibleError for what no container can have, whatever isolates it."""
    for name, value in app.env.items():
        if not _ENV_NAME.fullmatch(name) or "\0" in value.reveal():
            raise SpecImpossibleError(f"{name!r} cannot be an environment variable", element=f"app {app.name}")
        if is_reserved(name) and re.search(r"[\r\n]", value.reveal()):
            raise SpecImpossibleError(
                f"environment variable {name} has several lines",
                element=f"app {app.name}",
                resolution="use another name or a file",
            )
    targets = [mount.mount_path for mount in app.mounts] + [file.path for file in app.files]
    for target in targets:
        path = PurePosixPath(target)
        if not path.is_absolute() or path == PurePosixPath("/") or ".." in path.parts or ":" in target:
            raise SpecImpossibleError(
                f"{target!r} cannot be a path to mount at",
                element=f"app {app.name}",
                resolution="use an absolute path without '..' and ':'",
            )
    for file in app.files:
        if parse_owner(file.owner) is None:
            raise SpecImpossibleError(
                f"owner {file.owner!r} of {file.path} is not known to the node",
                element=f"app {app.name}",
                resolution="give the owner as root or as numbers, USER:GROUP",
            )


def parse_owner(owner: str) -> tuple[int, int] | None:
    """``root:root``, ``1000:1000``, ``1000`` → (uid, gid); None for names, which only the image could explain."""
    user, _, group = owner.partition(":")
    ids = [0 if part in ("", "root") else int(part) if part.isdecimal() else None for part in (user, group or user)]
    if ids[0] is None or ids[1] is None:
        return None
    return ids[0], ids[1]


def _render_mount(mount: Mount) -> str:
    return f"--volume={mount.source}:{mount.target}{':ro' if mount.read_only else ''}"
