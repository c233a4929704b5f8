"""Checks of single values, each giving the faults of one field with its path.

The kinds' ``validate`` functions are made of these. Texts follow those of Kubernetes where it checks the same thing,
since people and tools know them.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Hashable, Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, ip_address, ip_network
from typing import Any

from eaves.kube import names
from eaves.kube.errors import CauseType, FieldError
from eaves.kube.quantity import QuantityError, parse_quantity

_ENV_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
_MAC = re.compile(r"[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){5}")
_PORT_RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")

_ENV_TEXT = (
    "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', and must not start with"
    " a digit (e.g. 'my.env-name',  or 'MY_ENV.NAME',  or 'MyEnvName1', regex used for validation is '[-._a-zA-Z][-._a-zA-Z0-9]*')"
)


def invalid(path: str, value: Any, detail: str) -> FieldError:
    return FieldError(path, CauseType.INVALID, detail, value)


def required(path: str, detail: str = "") -> FieldError:
    return FieldError(path, CauseType.REQUIRED, detail)


def forbidden(path: str, detail: str) -> FieldError:
    return FieldError(path, CauseType.FORBIDDEN, detail)


def duplicate(path: str, value: Any) -> FieldError:
    return FieldError(path, CauseType.DUPLICATE, "", value)


def is_env_name(name: str) -> bool:
    return _ENV_NAME.fullmatch(name) is not None


def check_own_name(obj: Mapping[str, Any]) -> Iterator[FieldError]:
    """For kinds whose names must be DNS labels. That there is a name at all is asked of every kind."""
    name = (obj.get("metadata") or {}).get("name") or ""
    return check_dns_label("metadata.name", name) if name else iter(())


def check_dns_label(path: str, value: str) -> Iterator[FieldError]:
    return (invalid(path, value, text) for text in names.check_label_name(value))


def check_dns_subdomain(path: str, value: str) -> Iterator[FieldError]:
    return (invalid(path, value, text) for text in names.check_subdomain(value))


def check_env_name(path: str, value: str) -> Iterator[FieldError]:
    if not is_env_name(value):
        yield invalid(path, value, _ENV_TEXT)


def check_data_key(path: str, value: str) -> Iterator[FieldError]:
    """A key of a Secret or ConfigMap."""
    return (invalid(path, value, text) for text in names.check_config_key(value))


def check_absolute_path(path: str, value: str) -> Iterator[FieldError]:
    """A path inside an app: absolute, without ``..``, not the root itself."""
    if not value.startswith("/"):
        yield invalid(path, value, "must be an absolute path")
    elif any(part == ".." for part in value.split("/")):
        yield invalid(path, value, "must not contain '..'")
    elif not value.strip("/"):
        yield invalid(path, value, "must not be the root directory")
    elif posixpath.normpath(value) != value.rstrip("/"):
        yield invalid(path, value, "must not contain '//' or '/./'")
    if "\0" in value or ":" in value:
        yield invalid(path, value, "must not contain ':' or NUL")


def check_quantity(path: str, value: Any, *, minimum: str, maximum: str) -> Iterator[FieldError]:
    """A quantity within bounds, both included."""
    try:
        amount = parse_quantity(value)
    except QuantityError as error:
        yield invalid(path, value, str(error))
        return
    if amount < parse_quantity(minimum):
        yield invalid(path, value, f"must be greater than or equal to {minimum}")
    elif amount > parse_quantity(maximum):
        yield invalid(path, value, f"must be less than or equal to {maximum}")


def check_ipv4(path: str, value: str) -> Iterator[FieldError]:
    try:
        IPv4Address(value)
    except ValueError:
        yield invalid(path, value, "must be a valid IPv4 address, (e.g. 10.9.8.7)")


def check_ip(path: str, value: str) -> Iterator[FieldError]:
    try:
        ip_address(value)
    except ValueError:
        yield invalid(path, value, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")


def check_cidr(path: str, value: str) -> Iterator[FieldError]:
    """An address or a subnet of either family."""
    try:
        ip_network(value)
    except ValueError:
        yield invalid(
            path, value, "must be an IP address or a subnet in CIDR notation without host bits, (e.g. 10.9.8.0/24)"
        )


def check_subnet(path: str, value: str, smallest_prefix: int) -> Iterator[FieldError]:
    """An IPv4 subnet with room for hosts."""
    try:
        subnet = IPv4Network(value)
    except ValueError:
        yield invalid(path, value, "must be an IPv4 subnet in CIDR notation without host bits, (e.g. 10.9.8.0/24)")
        return
    if subnet.prefixlen > smallest_prefix:
        yield invalid(path, value, f"must be /{smallest_prefix} or larger")
    elif subnet.prefixlen < 8:
        yield invalid(path, value, "must be /8 or smaller")
    elif (
        subnet.is_loopback or subnet.is_multicast or subnet.is_link_local or subnet.is_reserved or subnet.is_unspecified
    ):
        yield invalid(path, value, "must not be loopback, link-local, multicast or reserved")


def check_interface_address(path: str, value: str) -> Iterator[FieldError]:
    """An IPv4 address with the length of its prefix."""
    try:
        interface = IPv4Interface(value)
    except ValueError:
        yield invalid(path, value, "must be an IPv4 address with prefix length, (e.g. 10.9.8.7/24)")
        return
    if "/" not in value:
        yield invalid(path, value, "needs its prefix length, (e.g. 10.9.8.7/24)")
    elif interface.network.prefixlen < 31 and interface.ip in (
        interface.network.network_address,
        interface.network.broadcast_address,
    ):
        yield invalid(path, value, "must not be the network or broadcast address")


def check_host(path: str, value: str) -> Iterator[FieldError]:
    """A host name or an IP address."""
    try:
        ip_address(value)
    except ValueError:
        if any(check_dns_subdomain(path, value.lower())):
            yield invalid(path, value, "must be a host name or an IP address, (e.g. time.example or 192.0.2.1)")


def check_mac(path: str, value: str) -> Iterator[FieldError]:
    if not _MAC.fullmatch(value):
        yield invalid(path, value, "must be six pairs of hexadecimal digits joined by ':'")
    elif int(value[:2], 16) & 1:
        yield invalid(path, value, "must not be a multicast address (the first byte must be even)")


def check_port_range(path: str, value: str) -> Iterator[FieldError]:
    """``80`` or ``8000-8010``."""
    match = _PORT_RANGE.fullmatch(value)
    low = int(match[1]) if match else 0
    high = int(match[2] or match[1]) if match else 0
    if not 1 <= low <= high <= 65535:
        yield invalid(path, value, "must be a port between 1 and 65535, or two joined by '-' in ascending order")


def check_no_repeats(paths_and_values: Iterable[tuple[str, Hashable]]) -> Iterator[FieldError]:
    """Each value once; the second and later ones are faults."""
    seen: set[Hashable] = set()
    for path, value in paths_and_values:
        if value in seen:
            yield duplicate(path, value)
        seen.add(value)


def check_immutable(path: str, new: Any, old: Any) -> Iterator[FieldError]:
    if new != old:
        yield invalid(path, new, "field is immutable")
