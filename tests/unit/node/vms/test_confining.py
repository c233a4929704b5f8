"""As whom each kind of machine runs, and with which powers."""

from __future__ import annotations

import msgspec

from eaves.node.hardware.plan import Assignment
from eaves.node.vms.confining import FIRST_USER, USERS, want_confinement, want_helper_launcher, want_user
from eaves.node.vms.isolation.model import ContainerGuest
from tests.unit.node.vms.test_command import HOST, SPEC, values


def test_a_machine_becomes_a_user_of_its_own_when_all_is_open() -> None:
    user = want_user(SPEC.app_id)
    assert FIRST_USER <= user < FIRST_USER + USERS
    assert want_user("another") != user
    old = want_confinement(SPEC, HOST)
    assert values(list(old.options), "-runas") == [f"{user}:{user}"]
    new = want_confinement(SPEC, msgspec.structs.replace(HOST, qemu_version=(9, 1, 0)))
    assert values(list(new.options), "-run-with") == [f"user={user}:{user}"]
    assert "-runas" not in new.options
    for found in (old, new):
        assert "--no-new-privs" in found.launcher
        assert "--bounding-set=-all,+setuid,+setgid" in found.launcher
        assert found.launcher[-1] == "--"
        (filter_,) = values(list(found.options), "-sandbox")
        assert filter_ == "on,obsolete=deny,spawn=deny,resourcecontrol=deny"


def test_what_needs_root_keeps_it_with_the_least_powers() -> None:
    guest = msgspec.structs.replace(SPEC, container=ContainerGuest("image", "web"))
    usb = msgspec.structs.replace(SPEC, devices=Assignment(usb=("1-2",)))
    for spec, bounds in ((guest, "-all,+chown,+dac_override,+fowner,+fsetid,+setfcap"), (usb, "-all")):
        found = want_confinement(spec, HOST)
        assert f"--bounding-set={bounds}" in found.launcher
        assert not {"-runas", "-run-with"} & set(found.options)
        assert values(list(found.options), "-sandbox")[0].endswith("elevateprivileges=deny")
    assert "--bounding-set=-all" in want_helper_launcher()


def test_memory_may_be_locked_where_a_device_reads_it() -> None:
    spec = msgspec.structs.replace(SPEC, devices=Assignment(pci=("0000:01:00.0",)))
    assert want_confinement(spec, HOST).launcher[:3] == ("prlimit", "--memlock=unlimited:unlimited", "--")
    assert want_confinement(SPEC, HOST).launcher[0] == "setpriv"
