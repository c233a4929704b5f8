"""What counts as a host name and as an address in a config, whose texts anybody may have written."""

from __future__ import annotations

import ipaddress
import re

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def is_label(name: str) -> bool:
    """Whether it is one part of a DNS name, in lower case."""
    return _LABEL.fullmatch(name) is not None


def is_domain(name: str) -> bool:
    return 0 < len(name) <= 253 and all(is_label(label) for label in name.lower().split("."))


def is_address(text: str) -> bool:
    """Whether it is an IPv4 address."""
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True
