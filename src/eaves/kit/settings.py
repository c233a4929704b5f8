"""Settings from a TOML file and the environment into a frozen struct; anything unknown or ill-typed is an error.

A daemon declares its settings as a ``msgspec.Struct``; nested structs are TOML tables. The environment variable for
``gateway.listen`` with prefix ``EAVES_CONTROLLER_`` is ``EAVES_CONTROLLER_GATEWAY__LISTEN`` and wins over the file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from eaves.kit.errors import EavesError

T = TypeVar("T", bound=msgspec.Struct)


class SettingsError(EavesError):
    """A settings file or variable that cannot be used; the message names the file or variable and the key."""

    code = "BadSettings"


def load_settings(kind: type[T], path: Path | None, environment: Mapping[str, str], prefix: str) -> T:
    """Read ``path`` (None or a missing default file = no file is given by the caller as None) and override by the environment.

    Raises SettingsError for an unreadable file, bad TOML, an unknown key, a wrong type, or an unknown variable with the prefix.
    """
    raw = _load_toml(path) if path is not None else {}
    for name, text in sorted(environment.items()):
        if name.startswith(prefix):
            _set(raw, kind, name, name[len(prefix) :].lower().split("__"), text)
    where = str(path) if path is not None else "settings"
    _check_keys(raw, kind, where, "")
    try:
        return msgspec.convert(raw, kind, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(
            str(error), element=where, resolution="correct the value; types are in the reference"
        ) from error


_CHECK_PATH = "check what --config says, and that this user may read it"


def _load_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot be read: {error.strerror}", element=str(path), resolution=_CHECK_PATH) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"is not TOML: {error}", element=str(path)) from error


def _check_keys(raw: Mapping[str, Any], kind: type[msgspec.Struct], where: str, prefix: str) -> None:
    known = _fields(kind)
    for key, value in raw.items():
        if key not in known:
            names = ", ".join(sorted(known))
            raise SettingsError(f"unknown key {prefix}{key}", element=where, resolution=f"known keys here: {names}")
        if isinstance(value, dict) and (nested := known[key]) is not None:
            _check_keys(value, nested, where, f"{prefix}{key}.")


def _set(raw: dict[str, Any], kind: type[msgspec.Struct], name: str, path: list[str], text: str) -> None:
    target, known = raw, _fields(kind)
    for step in path[:-1]:
        nested = known.get(step)
        if nested is None:
            raise SettingsError("unknown variable", element=name, resolution=f"no table {step} in the settings")
        target, known = target.setdefault(step, {}), _fields(nested)
    if path[-1] not in known:
        raise SettingsError("unknown variable", element=name, resolution=f"known keys here: {', '.join(sorted(known))}")
    target[path[-1]] = text.split(",") if _is_list(kind, path) and text else [] if _is_list(kind, path) else text


def _is_list(kind: type[msgspec.Struct], path: list[str]) -> bool:
    for step in path[:-1]:
        nested = _fields(kind)[step]
        assert nested is not None
        kind = nested
    annotation = get_type_hints(kind)[path[-1]]
    return get_origin(annotation) in (list, tuple, set, frozenset)


def _fields(kind: type[msgspec.Struct]) -> dict[str, type[msgspec.Struct] | None]:
    """Field name → nested struct type, None for a plain value."""
    hints = get_type_hints(kind)
    names = {field.name: field.encode_name for field in msgspec.structs.fields(kind)}
    return {encoded: _nested(hints[name]) for name, encoded in names.items()}


def _nested(annotation: Any) -> type[msgspec.Struct] | None:
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, msgspec.Struct):
            return candidate
    return None
