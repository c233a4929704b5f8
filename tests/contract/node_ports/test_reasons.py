"""Reasons of failures have the numbers that NetworkManager's own library gives them."""

from __future__ import annotations

import ctypes

from eaves.node.ports.reasons import DeviceStateReason, describe_reason


class EnumValue(ctypes.Structure):
    """``GEnumValue`` of GObject."""

    _fields_ = (("value", ctypes.c_int), ("name", ctypes.c_char_p), ("nick", ctypes.c_char_p))


def find_known_reasons() -> dict[str, int]:
    """Name → number, as libnm, which nmcli uses, has them."""
    manager, objects = ctypes.CDLL("libnm.so.0"), ctypes.CDLL("libgobject-2.0.so.0")
    manager.nm_device_state_reason_get_type.restype = ctypes.c_size_t
    objects.g_type_class_ref.restype = ctypes.c_void_p
    objects.g_type_class_ref.argtypes = [ctypes.c_size_t]
    objects.g_enum_get_value.restype = ctypes.POINTER(EnumValue)
    objects.g_enum_get_value.argtypes = [ctypes.c_void_p, ctypes.c_int]
    known = objects.g_type_class_ref(manager.nm_device_state_reason_get_type())
    found = (objects.g_enum_get_value(known, number) for number in range(256))
    return {entry.contents.name.decode(): int(entry.contents.value) for entry in found if entry}


def test_numbers_are_those_of_networkmanager() -> None:
    known = find_known_reasons()
    ours = {f"NM_DEVICE_STATE_REASON_{reason.name}": reason.value for reason in DeviceStateReason}
    assert ours.items() <= known.items()


def test_each_has_words_and_others_have_none() -> None:
    assert all(describe_reason(reason) for reason in DeviceStateReason)
    assert describe_reason(0) == ""
