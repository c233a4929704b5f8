"""Plain pages of the API: is it alive, is it ready, which version is it, its metrics.

Whoever wires the controller registers named checks; ``/readyz?verbose`` prints them as a kube-apiserver does.
"""

from __future__ import annotations

import platform
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from urllib.parse import parse_qsl

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
        wanted = {value for key, value in parse_qsl(request.scope["query_string"].decode()) if key == "exclude"}
        excluded = [each for each in checks if each in wanted]
        outcomes = [(each, "" if each in excluded else await _run(check)) for each, check in checks.items()]
        # A single check has nothing to tell beside its outcome.
        is_verbose = "verbose" in request.query and not name
        page = f"{base}{'/' if name else ''}{name}"
        body, code = _render(page, outcomes, excluded, sorted(wanted - checks.keys()), is_verbose=is_verbose)
        return Response(body, code, TEXT, {} if name else {"X-Content-Type-Options": "nosniff"})


async def _run(check: Check) -> str:
    try:
        await check()
    except EavesError as error:
        return str(error)
    return ""


def _render(
    page: str,
    outcomes: Sequence[tuple[str, str]],
    excluded: Collection[str],
    unknown: Sequence[str],
    *,
    is_verbose: bool,
) -> tuple[bytes, int]:
    """Body and code. ``unknown`` are names that were to be excluded and are none."""
    is_failed = any(fault for _, fault in outcomes)
    if not is_failed and not is_verbose:
        return b"ok", 200
    lines = ["[+]ping ok"]
    for name, fault in outcomes:
        lines.append(f"[-]{name} failed: {fault}" if fault else f"[+]{name}{' excluded:' * (name in excluded)} ok")
    if unknown:
        quoted = ", ".join(f'"{name}"' for name in unknown)
        lines.append(f"warn: some health checks cannot be excluded: no matches for {quoted}")
    lines.append(f"{page} check {'failed' if is_failed else 'passed'}")
    return ("\n".join(lines) + "\n").encode(), 500 if is_failed else 200


def render_version() -> bytes:
    """The ``/version`` document; the version of Eaves is the build part of ``gitVersion``, as distributions of Kubernetes do."""
    document = {
        "major": KUBERNETES_MAJOR,
        "minor": KUBERNETES_MINOR,
        "emulationMajor": KUBERNETES_MAJOR,
        "emulationMinor": KUBERNETES_MINOR,
        "minCompatibilityMajor": KUBERNETES_MAJOR,
        "minCompatibilityMinor": str(int(KUBERNETES_MINOR) - 1),
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
