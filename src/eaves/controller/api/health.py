"""Plain pages of the API: is it alive, is it ready, which version is it, its metrics.

Whoever wires the controller registers named checks; ``/readyz?verbose`` prints them as a kube-apiserver does.
"""

from __future__ import annotations

import platform
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from eaves import __version__
from eaves.controller.api.http import TEXT, Request, Response
from eaves.kit.errors import EavesError

KUBERNETES_MAJOR = "1"
KUBERNETES_MINOR = "37"
"""The version of the Kubernetes API conventions that are served; kubectl warns when its own is more than one minor away."""

Check = Callable[[], Awaitable[None]]
"""Raises an EavesError when something is not well."""


class Health:
    """``/livez``, ``/readyz`` and ``/healthz`` over named checks. ``live`` are those that only a restart can mend."""

    def __init__(self, ready: Mapping[str, Check], live: Mapping[str, Check] | None = None) -> None:
        self._checks = {"/livez": dict(live or {}), "/readyz": dict(ready), "/healthz": dict(ready)}

    async def answer(self, request: Request) -> Response | None:
        """The page below one of the three paths, None when there is no such page."""
        base, _, name = request.path.strip("/").partition("/")
        checks = self._checks[f"/{base}"]
        if name:
            checks = {name: checks[name]} if name in checks else {}
            if not checks and name != "ping":
                return None
        excluded = request.query.get("exclude", "")
        outcomes = [(each, await _run(check)) for each, check in checks.items() if each != excluded]
        return _render(f"{base}{'/' if name else ''}{name}", outcomes, is_verbose="verbose" in request.query)


async def _run(check: Check) -> str:
    try:
        await check()
    except EavesError as error:
        return str(error)
    return ""


def _render(page: str, outcomes: Sequence[tuple[str, str]], *, is_verbose: bool) -> Response:
    failed = [name for name, fault in outcomes if fault]
    if not failed and not is_verbose:
        return Response(b"ok", content_type=TEXT)
    lines = ["[+]ping ok"]
    lines.extend(f"[-]{name} failed: {fault}" if fault else f"[+]{name} ok" for name, fault in outcomes)
    lines.append(f"{page} check {'failed' if failed else 'passed'}")
    return Response(("\n".join(lines) + "\n").encode(), 500 if failed else 200, TEXT)


def render_version() -> bytes:
    """The ``/version`` document; the version of Eaves is the build part of ``gitVersion``, as distributions of Kubernetes do."""
    document = {
        "major": KUBERNETES_MAJOR,
        "minor": KUBERNETES_MINOR,
        "emulationMajor": KUBERNETES_MAJOR,
        "emulationMinor": KUBERNETES_MINOR,
        "gitVersion": f"v{KUBERNETES_MAJOR}.{KUBERNETES_MINOR}.0+eaves{__version__}",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": platform.python_implementation().lower(),
        "platform": f"linux/{_architecture()}",
    }
    return msgspec.json.encode(document)


def render_metrics(registry: CollectorRegistry) -> Response:
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
