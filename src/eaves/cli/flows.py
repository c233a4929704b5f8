"""``kubectl eaves flows``: with whom an app speaks, by which rule, and how much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from eaves.cli.kubectl import Kubectl

EXAMPLES = "Examples:\n\n\b\n  kubectl eaves flows web\n  kubectl eaves flows web -n shop --since 1h --dns"
_HEADS = ("START", "STATE", "DIRECTION", "PROTOCOL", "LOCAL", "FAR", "RULE", "SENT", "RECEIVED")
_DNS_HEADS = ("TIME", "NAME", "ADDRESSES")


def load_flows(kubectl: Kubectl, name: str, *, since_s: float, limit: int) -> dict[str, Any]:
    """The ``flows`` subresource of an app. Raises KubectlError."""
    path = f"/apis/eaves.dev/v1alpha1/namespaces/{kubectl.namespace()}/apps/{name}/flows?limit={limit}"
    return kubectl.get_raw(f"{path}&sinceSeconds={int(since_s)}" if since_s else path)


def render_flows(document: Mapping[str, Any]) -> str:
    rows = [
        (
            flow["startTime"] or "",
            "Drop" if flow["action"] == "Drop" else "Closed" if flow["endTime"] else "Open",
            flow["direction"],
            flow["protocol"],
            _place(flow["address"], flow["port"]),
            _place(flow["farAddress"], flow["farPort"]),
            flow["rule"] or ("default" if not flow["ruleId"] else str(flow["ruleId"])),
            _size(flow["sentBytes"]),
            _size(flow["receivedBytes"]),
        )
        for flow in document["flows"]
    ]
    return _render_table(_HEADS, rows) if rows else "No flows. Does the Network have spec.disableFlowlog: false?"


def render_dns(document: Mapping[str, Any]) -> str:
    rows = [(entry["time"] or "", entry["name"], ",".join(entry["addresses"])) for entry in document["dns"]]
    return _render_table(_DNS_HEADS, rows) if rows else "No names were asked for."


def _place(address: str, port: int) -> str:
    if not port:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _size(count: int) -> str:
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.0f} TiB"


def _render_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[index]) for row in (heads, *rows)) for index in range(len(heads))]
    lines = ("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (heads, *rows))
    return "\n".join(line.rstrip() for line in lines)
