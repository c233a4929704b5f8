"""Which proxy a download takes: of those that are named, or as a proxy auto-configuration file says of each host, redirects too."""

from __future__ import annotations

import subprocess
import sys
import threading
from urllib.parse import SplitResult, urlsplit

import msgspec

from eaves.kit.errors import EavesError
from eaves.node.images.download.errors import FetchError
from eaves.node.images.download.protocol import Setup
from eaves.node.ports.pac import Question
from eaves.node.ports.proxies import is_exception, parse_answer

_RUN_TIMEOUT_S = 20.0


class Proxies:
    """Of one helper process; its threads share the answers of a file."""

    def __init__(self, setup: Setup) -> None:
        self._named = setup.proxies
        self._pac = setup.pac
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], SplitResult | None] = {}

    def choose(self, url: SplitResult) -> SplitResult | None:
        """None = directly. Raises FetchError when the file cannot be followed."""
        host = url.hostname or ""
        if self._pac:
            return None if is_exception(host, ()) else self._ask(url.scheme, host)
        text = self._named.get(f"{url.scheme.upper()}_PROXY", "")
        if not text or is_exception(host, self._named.get("NO_PROXY", "").split(",")):
            return None
        return urlsplit(text if "://" in text else f"http://{text}")

    def _ask(self, scheme: str, host: str) -> SplitResult | None:
        with self._lock:
            if (scheme, host) not in self._known:
                self._known[scheme, host] = _run(self._pac, scheme, host)
            return self._known[scheme, host]


def _run(pac: str, scheme: str, host: str) -> SplitResult | None:
    authority = f"[{host}]" if ":" in host else host
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "eaves.node.ports.pac"],
            input=msgspec.json.encode(Question(pac, f"{scheme}://{authority}/", host)),
            capture_output=True,
            timeout=_RUN_TIMEOUT_S,
            check=True,
        )
        server = parse_answer(done.stdout.decode("utf-8", "replace"))
    except (subprocess.SubprocessError, OSError) as error:
        words = (getattr(error, "stderr", b"") or b"").decode("utf-8", "replace")[:200]
        raise FetchError(
            f"the uplink's proxy auto-configuration file cannot be run for {host}: {words or error}",
            code="ProxyInvalid",
            resolution="correct the file; it must define FindProxyForURL and end soon",
        ) from error
    except EavesError as error:
        raise FetchError(str(error), code="ProxyInvalid", resolution=error.resolution) from error
    if server is None:
        return None
    return urlsplit(f"http://{f'[{server.host}]' if ':' in server.host else server.host}:{server.port}")
