"""Rules for names, labels and annotations; each check answers the faults as texts, empty when there is none.

Texts are those of Kubernetes' validation, so that an operator finds them on the web.
"""

from __future__ import annotations

import re

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_CONFIG_KEY = re.compile(r"[-._a-zA-Z0-9]+")

_LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an "
    "alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end "
    "with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_QUALIFIED_TEXT = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_LABEL_KEY_TEXT = (
    "a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
)
_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end "
    "with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)


def check_label_name(name: str) -> list[str]:
    """A DNS-1123 label, at most 63 characters."""
    faults = _check_length(name, 63)
    if _LABEL.fullmatch(name):
        return faults
    return [*faults, "must not contain dots" if _SUBDOMAIN.fullmatch(name) else _LABEL_TEXT]


def check_subdomain(name: str) -> list[str]:
    """A DNS-1123 subdomain, at most 253 characters: the name of most objects."""
    return _check_subdomain(name, "characters")


def check_name_prefix(prefix: str) -> list[str]:
    """``generateName``: a subdomain that may end with the dash before what is added."""
    return check_subdomain(f"{prefix[:-1]}a" if len(prefix) > 1 and prefix.endswith("-") else prefix)


def check_path_segment(name: str) -> list[str]:
    """A name that may be anything which can stand in a path: roles have such (``system:basic-user``)."""
    return [f"may not be '{name}'"] if name in (".", "..") else check_path_prefix(name)


def check_path_prefix(name: str) -> list[str]:
    """The beginning of such a name."""
    return [f"may not contain '{character}'" for character in "/%" if character in name]


def check_qualified_name(name: str) -> list[str]:
    """``[prefix/]name`` of labels, annotations and finalizers."""
    prefix, slash, rest = name.rpartition("/")
    if "/" in prefix:
        return [_LABEL_KEY_TEXT]
    faults: list[str] = []
    if slash and not prefix:
        faults.append("prefix part must be non-empty")
    elif slash:
        faults.extend(f"prefix part {fault}" for fault in _check_subdomain(prefix, "bytes"))
    if not rest:
        faults.append("name part must be non-empty")
    elif len(rest.encode()) > 63:
        faults.append("name part must be no more than 63 bytes")
    if not _QUALIFIED.fullmatch(rest):
        faults.append(_QUALIFIED_TEXT)
    return faults


def check_label_value(value: str) -> list[str]:
    faults = _check_length(value, 63, "bytes")
    return faults if _VALUE.fullmatch(value) else [*faults, _VALUE_TEXT]


def check_config_key(key: str) -> list[str]:
    """A key of a ConfigMap's or Secret's data."""
    faults = _check_length(key, 253)
    if not _CONFIG_KEY.fullmatch(key):
        faults.append(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  "
            "or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
        )
    elif key in (".", ".."):
        faults.append(f"must not be '{key}'")
    elif key.startswith(".."):
        faults.append("must not start with '..'")
    return faults


def _check_subdomain(name: str, unit: str) -> list[str]:
    faults = _check_length(name, 253, unit)
    return faults if _SUBDOMAIN.fullmatch(name) else [*faults, _SUBDOMAIN_TEXT]


def _check_length(text: str, limit: int, unit: str = "characters") -> list[str]:
    """``unit`` is only a word: Kubernetes counts bytes always, and says so for labels alone."""
    return [f"must be no more than {limit} {unit}"] if len(text.encode()) > limit else []
