"""Rules for ``spec.config`` and ``spec.disable`` of a K3sCluster: names that its version knows and that Eaves leaves to the user."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from eaves.kinds.k3s_options import MANAGED, OPTIONS, PACKAGED, is_known
from eaves.kinds.k3s_version import parse_k3s_version
from eaves.kinds.k3scluster_spec import K3sClusterSpec
from eaves.kinds.rules import forbidden, invalid
from eaves.kube.errors import CauseType, FieldError

_SCALARS = (str, int, float, bool)
_LEAST_LIKENESS = 0.8
"""A name that is no more like a known one than this is no slip of the keyboard."""
_PACKAGED = "supported values: " + ", ".join(f'"{name}"' for name in PACKAGED)


def check_options(spec: K3sClusterSpec) -> Iterator[FieldError]:
    """Every fault of the options and of the components to leave out."""
    version = parse_k3s_version(spec.version)
    for name, value in sorted(spec.config.items()):
        path = f"spec.config[{name}]"
        plain = name.removesuffix("+")
        if plain in MANAGED:
            yield forbidden(path, f"Eaves manages this option: {MANAGED[plain]}")
        elif plain not in OPTIONS or (version is not None and not is_known(plain, version.minor)):
            yield FieldError(path, CauseType.NOT_SUPPORTED, _explain_unknown(plain, spec.version), name)
        else:
            yield from _check_value(path, value, is_list=OPTIONS[plain].is_list)
    for index, component in enumerate(spec.disable):
        if component not in PACKAGED:
            yield FieldError(f"spec.disable[{index}]", CauseType.NOT_SUPPORTED, _PACKAGED, component)


def _explain_unknown(name: str, version: str) -> str:
    option = OPTIONS.get(name)
    if option is not None:
        return (
            f"K3s {version} does not have this option; it came with v1.{option.since}" if option.since else "it is gone"
        )
    close = _find_close(name)
    if close in MANAGED:
        return f"K3s has no such option; {close}, which is like it, is managed by Eaves: {MANAGED[close]}"
    return f"K3s has no such option{f'; did you mean {close}?' if close else ' (names are those of its config file)'}"


def _find_close(name: str) -> str:
    """The option that was meant, when it differs by signs between words or by a slip; empty = none is alike."""
    known = sorted({*OPTIONS, *MANAGED})
    word = name.lower().replace("_", "-")
    letters = word.replace("-", "")
    same = [option for option in known if option.replace("-", "") == letters]
    return next(iter(same or difflib.get_close_matches(word, known, 1, _LEAST_LIKENESS)), "")


def _check_value(path: str, value: Any, *, is_list: bool) -> Iterator[FieldError]:
    if isinstance(value, list):
        if not is_list:
            yield invalid(path, value, "must be a single value")
        elif not all(isinstance(item, _SCALARS) for item in value):
            yield invalid(path, value, "must be a list of texts and numbers")
    elif not isinstance(value, _SCALARS):
        yield invalid(
            path, value, "must be a text, a number, true or false" + (", or a list of such" if is_list else "")
        )
