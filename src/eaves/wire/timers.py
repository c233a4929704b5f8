"""Device properties (``configItems``) that both sides act on: defaults, bounds, and how a list of them is read.

A node reads each new config's items with :func:`parse_config_items` and reports the statuses; a controller checks what people write
with the same bounds. A value that cannot be taken never stops the others: the former one stays and the status says why.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from eaves.wire.eveproperties import is_inert

_MAX_UINT32 = 2**32 - 1
_DIGITS = re.compile(r"[0-9]{1,10}", re.ASCII)
_TRUE = {"1", "t", "T", "true", "True", "TRUE", "enabled", "enable"}
_FALSE = {"0", "f", "F", "false", "False", "FALSE", "disabled", "disable"}


class Timers(Struct, frozen=True):
    """Values in force. The defaults are those before any controller has sent a config."""

    config_interval_s: int = 60
    metric_interval_s: int = 60
    cert_interval_s: int = 86400
    deviceinfo_interval_s: int = 600
    hardwarehealth_interval_s: int = 43200
    location_cloud_interval_s: int = 3600
    location_app_interval_s: int = 20
    ntpsources_interval_s: int = 600
    metric_diskscan_interval_s: int = 300
    appcontainer_stats_interval_s: int = 300
    send_timeout_s: int = 120
    dial_timeout_s: int = 10
    reboot_no_network_s: int = 604800
    update_fallback_no_network_s: int = 300
    test_baseimage_update_s: int = 600
    download_retry_s: int = 600
    download_stalled_s: int = 600
    boot_retry_s: int = 600
    gc_vdisk_s: int = 3600
    defer_content_delete_s: int = 0
    vault_ready_cutoff_s: int = 300
    port_testduration_s: int = 30
    port_testinterval_s: int = 300
    port_timeout_s: int = 15
    port_testbetterinterval_s: int = 600
    lps_profile_interval_s: int = 60
    lps_appinfo_interval_s: int = 60
    lps_devinfo_interval_s: int = 60
    lps_network_interval_s: int = 60
    lps_appbootinfo_interval_s: int = 60
    lps_radio_interval_s: int = 5
    debug_enable_usb: bool = True
    debug_enable_vga: bool = True
    debug_enable_console: bool = True
    newlog_allow_fastupload: bool = False
    newlog_ondisk_max_mib: int = 2048
    blob_download_max_retries: int = 5
    download_max_cost: int = 0
    download_rate_kib: int = 0
    download_budget_day_mib: int = 0
    download_budget_month_mib: int = 0
    datastore_allow_insecure_auth: bool = False
    cloud_init_multipart: bool = False
    app_signer: bool = False


class ItemStatus(Struct, frozen=True):
    """What became of one property: the value in force as text, and why the asked one is not."""

    value: str
    error: str = ""
    is_known: bool = True


class Bounds(Struct, frozen=True):
    """Where a number is kept and what it may be."""

    field: str
    lowest: int
    highest: int = _MAX_UINT32


NUMBERS: Mapping[str, Bounds] = {
    "timer.config.interval": Bounds("config_interval_s", 5, 86400),
    "timer.metric.interval": Bounds("metric_interval_s", 5, 3600),
    "timer.cert.interval": Bounds("cert_interval_s", 60),
    "timer.deviceinfo.interval": Bounds("deviceinfo_interval_s", 30),
    "timer.hardwarehealth.interval": Bounds("hardwarehealth_interval_s", 21600),
    "timer.location.cloud.interval": Bounds("location_cloud_interval_s", 300),
    "timer.location.app.interval": Bounds("location_app_interval_s", 5, 3600),
    "timer.ntpsources.interval": Bounds("ntpsources_interval_s", 60),
    "timer.metric.diskscan.interval": Bounds("metric_diskscan_interval_s", 5, 3600),
    "timer.appcontainer.stats.interval": Bounds("appcontainer_stats_interval_s", 1),
    "timer.send.timeout": Bounds("send_timeout_s", 0, 3600),
    "timer.dial.timeout": Bounds("dial_timeout_s", 0, 3600),
    "timer.reboot.no.network": Bounds("reboot_no_network_s", 120),
    "timer.update.fallback.no.network": Bounds("update_fallback_no_network_s", 60),
    "timer.test.baseimage.update": Bounds("test_baseimage_update_s", 30, 3600),
    "timer.download.retry": Bounds("download_retry_s", 60),
    "timer.download.stalled": Bounds("download_stalled_s", 20),
    "timer.boot.retry": Bounds("boot_retry_s", 10),
    "timer.gc.vdisk": Bounds("gc_vdisk_s", 60),
    "timer.defer.content.delete": Bounds("defer_content_delete_s", 0, 86400),
    "timer.vault.ready.cutoff": Bounds("vault_ready_cutoff_s", 60),
    "timer.port.testduration": Bounds("port_testduration_s", 10),
    "timer.port.testinterval": Bounds("port_testinterval_s", 300),
    "timer.port.timeout": Bounds("port_timeout_s", 0),
    "timer.port.testbetterinterval": Bounds("port_testbetterinterval_s", 0),
    "timer.lps.profile.interval": Bounds("lps_profile_interval_s", 3, 3600),
    "timer.lps.appinfo.interval": Bounds("lps_appinfo_interval_s", 3, 3600),
    "timer.lps.devinfo.interval": Bounds("lps_devinfo_interval_s", 3, 3600),
    "timer.lps.network.interval": Bounds("lps_network_interval_s", 3, 3600),
    "timer.lps.appbootinfo.interval": Bounds("lps_appbootinfo_interval_s", 3, 3600),
    "timer.lps.radio.interval": Bounds("lps_radio_interval_s", 3, 3600),
    "newlog.gzipfiles.ondisk.maxmegabytes": Bounds("newlog_ondisk_max_mib", 10),
    "blob.download.max.retries": Bounds("blob_download_max_retries", 1, 10),
    "network.download.max.cost": Bounds("download_max_cost", 0, 255),
    "eaves.download.rate.limit": Bounds("download_rate_kib", 0),
    "eaves.download.budget.day": Bounds("download_budget_day_mib", 0),
    "eaves.download.budget.month": Bounds("download_budget_month_mib", 0),
}
"""Those that begin with ``eaves.`` are ours and never sent to a device that runs EVE. Rate in KiB/s, budgets in MiB; 0 = no limit."""

SWITCHES: Mapping[str, str] = {
    "debug.enable.usb": "debug_enable_usb",
    "debug.enable.vga": "debug_enable_vga",
    "debug.enable.console": "debug_enable_console",
    "newlog.allow.fastupload": "newlog_allow_fastupload",
    "datastore.http.security.allowinsecureauth": "datastore_allow_insecure_auth",
    "process.cloud-init.multipart": "cloud_init_multipart",
    "eaves.app.signer": "app_signer",
}

TEXTS = frozenset(
    {
        "debug.default.loglevel",
        "debug.default.remote.loglevel",
        "k3s.config.override",
        "k3s.version",
        "maintenance.mode",
    }
)
"""Read and judged by those who need them."""
_ECHO_CHARS = 1024

OFF_UNLESS_NAMED = ("debug_enable_usb", "debug_enable_vga", "debug_enable_console")


def parse_config_items(items: Iterable[tuple[str, str]], previous: Timers) -> tuple[Timers, dict[str, ItemStatus]]:
    """The values that a controller's config with these (key, value) pairs puts in force, and one status a key that it names.

    What the config does not name goes back to its default; access by USB, screen and console then goes off, although it is on until
    the first config. A value out of bounds leaves the one of ``previous``. Of a key named twice the last value counts.
    """
    values: dict[str, Any] = dict.fromkeys(OFF_UNLESS_NAMED, False)
    statuses: dict[str, ItemStatus] = {}
    for key, text in dict(items).items():
        field = SWITCHES.get(key) or (NUMBERS[key].field if key in NUMBERS else None)
        if field is None:
            statuses[key] = _tell_other(key, text)
            continue
        value, error = parse_value(key, text)
        if error:
            value = getattr(previous, field)
            error = f"{error}; {render_value(value)} stays in force"
        values[field] = value
        statuses[key] = ItemStatus(render_value(value), error)
    return Timers(**values), statuses


def _tell_other(key: str, text: str) -> ItemStatus:
    """The status of what is no number or switch."""
    if key in TEXTS:
        return ItemStatus(text[:_ECHO_CHARS])
    if is_inert(key):
        return ItemStatus(text[:_ECHO_CHARS], f"{key} is a property of EVE that has no effect on this node")
    return ItemStatus("", f"{key} is not a property of this node", is_known=False)


def parse_value(key: str, text: str) -> tuple[int | bool, str]:
    """The value of a known property, or an error text that says what it may be."""
    if key in SWITCHES:
        if text in _TRUE or text in _FALSE:
            return text in _TRUE, ""
        return False, f"{key} must be true or false, not {text[:64]!r}"
    bounds = NUMBERS[key]
    allowed = f"from {bounds.lowest} to {bounds.highest}"
    if not _DIGITS.fullmatch(text):
        return 0, f"{key} must be a whole number {allowed}, not {text[:64]!r}"
    value = int(text)
    return value, "" if bounds.lowest <= value <= bounds.highest else f"{key} must be {allowed}, not {value}"


def render_value(value: int | bool) -> str:
    return str(value).lower()


def render_config_items(timers: Timers) -> list[tuple[str, str]]:
    """The shortest list of items that puts ``timers`` in force on a device, in a fixed order."""
    defaults = msgspec.structs.replace(Timers(), **dict.fromkeys(OFF_UNLESS_NAMED, False))
    fields = {key: bounds.field for key, bounds in NUMBERS.items()} | dict(SWITCHES)
    return [
        (key, render_value(getattr(timers, field)))
        for key, field in sorted(fields.items())
        if getattr(timers, field) != getattr(defaults, field)
    ]
