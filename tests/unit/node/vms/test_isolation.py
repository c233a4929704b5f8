"""Small guests for containers: their archive, their kernel, their orders, and what they say of an end."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import msgspec
import pytest

from eaves.node.desired.model import AppKind, DesiredApp, FileToWrite
from eaves.node.desired.secret import Secret
from eaves.node.desired.vm_model import Isolation
from eaves.node.networks.service import Connection, Tap
from eaves.node.vms.isolation.archive import pack_archive
from eaves.node.vms.isolation.kernel import find_kernel, resolve_modules, want_boot_files
from eaves.node.vms.isolation.model import OVERHEAD_BYTES, ContainerGuest, ImageConfig, Owner, Share
from eaves.node.vms.isolation.orders import render_identity, render_run, want_command
from eaves.node.vms.isolation.packing import pack_agent, parse_libraries
from eaves.node.vms.isolation.prepare import find_owner, parse_image
from eaves.node.vms.model import Architecture
from eaves.node.vms.spec import want_spec
from eaves.node.vms.state import parse_exit
from eaves.node.workloads.abc import EngineKind, Ready
from eaves.node.workloads.engines import pick_engine
from eaves.node.workloads.errors import SpecImpossibleError

GUEST = ContainerGuest("image", "web", {"TOKEN": Secret("it's a secret")}, ("/bin/app",), ("one two",))
IMAGE = ImageConfig(("/entry",), ("cmd",), ("PATH=/opt/bin", "A=1"), "", "/srv")
APP = DesiredApp(
    id="app",
    version="1",
    name="web",
    namespace="default",
    kind=AppKind.CONTAINER,
    activate=True,
    image_id="image",
    root_volume_id="root",
    root_generation=0,
    memory_bytes=64 << 20,
    cpu_millis=1500,
    isolation=Isolation.VM,
)
READY = Ready(
    "sha256:1", "", Connection("", "web", "", "", (), taps=(Tap("eth0", "evv1", "02:00:00:00:00:01", 1500),)), {}
)


def test_archive_is_what_cpio_reads(tmp_path: Path) -> None:
    (tmp_path / "a.cpio").write_bytes(
        pack_archive([("init", b"#!/bin/sh\n"), ("lib/deep/x.ko", b"12345"), ("lib/y", b"")])
    )
    argv = ["busybox", "cpio", "-i", "-d", "-F", "a.cpio"]
    subprocess.run(argv, cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "init").read_bytes() == b"#!/bin/sh\n"
    assert (tmp_path / "init").stat().st_mode & 0o111
    assert (tmp_path / "lib/deep/x.ko").read_bytes() == b"12345"
    assert (tmp_path / "lib/y").read_bytes() == b""


def test_modules_come_after_what_they_need() -> None:
    text = "k/9p.ko: k/netfs.ko k/9pnet.ko\nk/9pnet.ko:\nk/netfs.ko: k/fscache.ko\nk/fscache.ko:\nk/virtio-rng.ko.xz:\n"
    order = resolve_modules(text, ("9p", "virtio_rng", "built_in"))
    assert set(order) == {"k/9p.ko", "k/netfs.ko", "k/9pnet.ko", "k/fscache.ko", "k/virtio-rng.ko.xz"}
    assert order.index("k/fscache.ko") < order.index("k/netfs.ko") < order.index("k/9p.ko")


def test_the_newest_kernel_with_its_modules_is_taken(tmp_path: Path) -> None:
    assert find_kernel([tmp_path]) is None
    for release in ("6.1.0-9", "6.1.0-10", "6.1.0-11-cloud"):
        (tmp_path / "boot").mkdir(exist_ok=True)
        (tmp_path / "boot" / f"vmlinuz-{release}").touch()
        (tmp_path / "lib/modules" / release / "kernel/fs/9p").mkdir(parents=True)
        (tmp_path / "lib/modules" / release / "modules.dep").touch()
        if not release.endswith("cloud"):
            (tmp_path / "lib/modules" / release / "kernel/fs/9p/9p.ko.xz").touch()
    found = find_kernel([tmp_path])
    assert found is not None
    assert found.release == "6.1.0-10"


def test_a_node_without_a_kernel_says_which_package_brings_one(tmp_path: Path) -> None:
    with pytest.raises(SpecImpossibleError) as caught:
        want_boot_files([tmp_path], tmp_path)
    assert "linux-image" in caught.value.resolution


@pytest.mark.parametrize(
    ("guest", "command"),
    [
        (GUEST, ("/bin/app", "one two")),
        (msgspec.structs.replace(GUEST, command=()), ("/entry", "one two")),
        (msgspec.structs.replace(GUEST, command=(), args=()), ("/entry", "cmd")),
    ],
)
def test_command_and_arguments_count_as_for_any_container(guest: ContainerGuest, command: tuple[str, ...]) -> None:
    assert want_command(guest, IMAGE) == command


def test_orders_keep_values_whole_whatever_is_in_them() -> None:
    line = next(line for line in render_run(GUEST, IMAGE, Owner()).splitlines() if line.startswith("chroot"))
    words = shlex.split(line)
    assert {"TOKEN=it's a secret", "PATH=/opt/bin", "A=1", "HOSTNAME=web"} <= set(words)
    assert words[-5:] == ["/srv", "/bin/app", "one two", "</dev/null", "&"]


def test_orders_mount_volumes_and_files_and_drop_rights() -> None:
    guest = msgspec.structs.replace(
        GUEST, shares=(Share("/v/data", "/data", True),), files=(FileToWrite("/etc/it's", b"x"),)
    )
    text = render_run(guest, IMAGE, Owner(1000, 50, "/home/me"))
    assert "volume0 /new/data" in text
    assert ",ro volume0" in text
    assert "/share/files/0 '/new/etc/it'\"'\"'s'" in text
    assert "start-stop-daemon -S -c 1000:50 -x /bin/app" in text


def test_commands_for_the_agent_are_who_the_app_is() -> None:
    uid, gid, folder, *env = render_identity(GUEST, IMAGE, Owner(7, 8, "/home/me")).split(b"\0")
    assert (uid, gid, folder) == (b"7", b"8", b"/srv")
    assert {b"TOKEN=it's a secret", b"PATH=/opt/bin", b"A=1", b"HOSTNAME=web", b"HOME=/home/me"} == set(env)


def test_libraries_are_read_from_what_ldd_shows() -> None:
    shown = (
        "\tlinux-vdso.so.1 (0x00007ff4)\n\tlibm.so.6 => /lib/x/libm.so.6 (0x00007ff4)\n"
        "\t/lib64/ld-linux-x86-64.so.2 (0x00007ff4)\n\tlibgone.so => not found\n"
    )
    assert parse_libraries(shown) == ["/lib/x/libm.so.6", "/lib64/ld-linux-x86-64.so.2"]
    assert parse_libraries("\tstatically linked\n") == []


def test_the_agent_is_packed_with_all_that_it_needs_and_no_more() -> None:
    """It starts from nothing but these files."""
    files = dict(pack_agent())
    names = {name.rpartition("/")[2] for name in files}
    assert {"agent", "agent.pyc", "commands.pyc", "frames.pyc", "os.pyc"} <= names
    # What a guest pays for: an interpreter and its libraries.
    assert sum(map(len, files.values())) < 40 << 20
    assert not any(name.endswith(".py") for name in names)


def test_image_config() -> None:
    raw = {"Config": {"Entrypoint": ["/e"], "Cmd": None, "Env": ["A=1"], "User": "me", "WorkingDir": "/w"}}
    assert parse_image(raw) == ImageConfig(("/e",), (), ("A=1",), "me", "/w")
    assert parse_image({}) == ImageConfig()


@pytest.mark.parametrize(
    ("user", "owner"),
    [
        ("", Owner(0, 0, "/r")),
        ("root", Owner(0, 0, "/r")),
        ("1000:50", Owner(1000, 50, "/")),
        ("1000", Owner(1000, 0, "/")),
        ("me", Owner(7, 8, "/home/me")),
        ("7", Owner(7, 8, "/home/me")),
        ("me:them", Owner(7, 9, "/home/me")),
        ("nobody-here", None),
        ("../x", None),
    ],
)
def test_user_of_the_image_is_found_in_its_own_files(tmp_path: Path, user: str, owner: Owner | None) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/r:/bin/sh\nbad:x:y:8::/:/\nme:x:7:8::/home/me:/bin/sh\n")
    (tmp_path / "etc/group").write_text("them:x:9:\n")
    assert find_owner(user, tmp_path) == owner


def test_a_link_in_an_image_leads_to_no_file_of_the_host(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").symlink_to("/etc/passwd")
    assert find_owner("daemon", tmp_path) is None


@pytest.mark.parametrize(
    ("raw", "code"), [(b"7\n", 7), (b"0\n", 0), (None, 255), (b"", 255), (b"999", 255), (b"x", 255)]
)
def test_exit_code_as_the_guest_wrote_it(raw: bytes | None, code: int) -> None:
    assert parse_exit(raw) == code


def test_a_container_apart_is_a_machine_with_memory_for_its_kernel() -> None:
    assert pick_engine(APP) is EngineKind.VM
    spec = want_spec(APP, READY, Architecture.X86_64, log_path="/log", key=b"k")
    assert spec.container is not None
    assert (spec.memory_bytes, spec.vcpus, spec.cpu_millis) == ((64 << 20) + OVERHEAD_BYTES, 2, 1500)
    assert [nic.tap for nic in spec.nics] == ["evv1"]
    other = msgspec.structs.replace(APP, env={"A": Secret("1")})
    assert want_spec(other, READY, Architecture.X86_64, log_path="/log", key=b"k").digest != spec.digest
