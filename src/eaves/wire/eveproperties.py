"""Properties of EVE that say nothing to a node: it knows their names, so that it can tell a controller so, and does nothing.

A controller of EVE devices sends them as a matter of course. Called by :mod:`eaves.wire.timers`.
"""

from __future__ import annotations

import re

_NAMES = frozenset(
    {
        "airgap.mode",
        "app.allow.vnc",
        "app.boot.order",
        "app.enable.tcp.mss.clamping",
        "app.fml.resolution",
        "debug.disable.dhcp.all-ones.netmask",
        "debug.enable.efi",
        "debug.enable.ssh",
        "debug.enable.vnc.shim.vm",
        "debug.kernel.loglevel",
        "debug.kernel.remote.loglevel",
        "debug.syslog.loglevel",
        "debug.syslog.remote.loglevel",
        "debug.tui.loglevel",
        "dhcp.enable.vendorclassid",
        "diag.probe.remote.http.endpoint",
        "diag.probe.remote.https.endpoint",
        "edgeview.authen.publickey",
        "force.fallback.counter",
        "igpu.gop",
        "kubernetes.drain.allnodes.config.multiple",
        "kubernetes.drain.skip.k8sapinotreachable.timeout",
        "kubernetes.drain.timeout",
        "kubernetes.vmi.deschedule.events",
        "log.count.filenames",
        "log.dedup.window.size",
        "log.filter.filenames",
        "memory-monitor.enabled",
        "memory.apps.ignore.check",
        "memory.eve.limit.MiB",
        "memory.eve.limit.bytes",
        "memory.vmm.limit.MiB",
        "msrv.prometheus.metrics.burst",
        "msrv.prometheus.metrics.idletimeout",
        "msrv.prometheus.metrics.rps",
        "netdump.enable",
        "netdump.topic.maxcount",
        "netdump.topic.postonboard.interval",
        "netdump.topic.preonboard.interval",
        "network.fallback.any.eth",
        "network.local.legacy.mac.address",
        "network.switch.enable.arpsnoop",
        "pnac.dhcp.reacquire.max.retries",
        "scep.retry.interval",
        "storage.apps.ignore.disk.check",
        "storage.dom0.disk.maxusagebytes",
        "storage.dom0.disk.minusage.percent",
        "storage.longhorn.disk.reserved.gigabytes",
        "storage.longhorn.node-drain-policy",
        "storage.longhorn.snapshot.cron",
        "storage.zfs.reserved.percent",
        "vector.config",
        "vector.enabled",
        "wwan.modem.recovery.reload.drivers",
        "wwan.modem.recovery.restart.modemmanager",
        "wwan.modem.recovery.watchdog",
        "wwan.query.visible.providers",
    }
)
_PATTERNS = re.compile(
    r"agent\.[a-z0-9]{1,32}\.debug\.(remote\.)?loglevel|(gogc|goroutine\.leak\.detection|internal-memory-monitor|netdump\.downloader"
    r"|debug\.qemu)\.[a-zA-Z0-9.-]{1,64}"
)


def is_inert(key: str) -> bool:
    """Whether ``key`` is a property of EVE without effect on a node."""
    return key in _NAMES or _PATTERNS.fullmatch(key) is not None
