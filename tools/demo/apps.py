"""The demo's container and virtual machine on the first node."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import time
from hashlib import sha256

from eaves.testing.file_server import FileServer
from eaves.testing.guest_image import READY, want_guest_disk
from eaves.testing.registry import Registry
from tools.demo.site import BIN, DemoError, Site, find_port

NODE = "edge-1"
APP_PORT = int(os.environ.get("DEMO_PORT", "8080"))
MACHINE_LIMIT_S = 180
"""A guest without hardware virtualisation on a busy machine."""


def start_registry(site: Site) -> Registry:
    site.say("starting a registry with a small web server image")
    registry = site.cleanups.enter_context(Registry(site.folder / "registry"))
    registry.push("shop/web:1", ("/bin/busybox", "httpd", "-f", "-v", "-p", "80", "-h", "/www"))
    return registry


def run_container(site: Site, registry: Registry) -> float:
    """Apply the example and wait until it answers; the seconds that it took."""
    started = time.monotonic()
    site.apply_example("web.yaml", {"127.0.0.1:5000": registry.server, "nodePort: 8080": f"nodePort: {APP_PORT}"})
    site.say(f"waiting for http://127.0.0.1:{APP_PORT}/")
    try:
        site.wait("an answer by HTTP", _answers, 120)
    except DemoError as error:
        error.details = site.explain("app/web") or error.details
        raise
    return time.monotonic() - started


def apply_machine(site: Site) -> None:
    """The example of a virtual machine, with a tiny guest in the place of its image."""
    content = want_guest_disk().read_bytes()
    server = site.cleanups.enter_context(FileServer({"/guest.raw": content}))
    changes = {
        "https://files.example": server.url,
        "debian-12-genericcloud-amd64.qcow2@sha256:" + 64 * "0": f"guest.raw@sha256:{sha256(content).hexdigest()}",
        "cpus: 2\n": "cpus: 1\n",
        "memory: 1Gi": "memory: 256Mi",
        "nodePort: 2222": f"nodePort: {find_port()}",
    }
    site.apply_example("vm.yaml", changes)


def show_apps(site: Site) -> None:
    site.say("what kubectl shows")
    site.kubectl("wait", "--for=jsonpath={.status.phase}=Running", "app/web", "app/gateway", "--timeout=60s")
    print(site.kubectl("get", "nodes,apps,pods", "-o", "wide"), end="", flush=True)
    site.say("kubectl logs web")
    site.wait("the app's log", lambda: bool(site.kubectl("logs", "web").strip()), 60)
    print(site.kubectl("logs", "web", "--tail", "5"), end="", flush=True)


def show_machine(site: Site) -> None:
    site.say("kubectl logs gateway: the serial console of the machine")
    try:
        site.wait("the guest", lambda: READY in site.kubectl("logs", "gateway"), MACHINE_LIMIT_S)
    except DemoError as error:
        error.details = site.explain("app/gateway") or error.details
        raise
    print(site.kubectl("logs", "gateway", "--tail", "4"), end="", flush=True)


def open_console(site: Site) -> None:
    """Type a command at the machine's serial line, as a user would, and show what comes back."""
    command = "echo up for $(cut -d. -f1 /proc/uptime) s, Linux $(uname -r)"
    site.say(f"kubectl eaves console gateway, and there: {command}")
    shown = site.folder / "console.log"
    with shown.open("wb") as file:
        console = subprocess.Popen(
            [str(BIN / "kubectl-eaves"), "console", "gateway"],
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=site.environment(),
            start_new_session=True,
        )
    try:
        assert console.stdin is not None
        console.stdin.write(f"{command}\n".encode())
        console.stdin.flush()
        answer = re.compile(r"^.*up for \d+ s, Linux \S+", re.MULTILINE)
        site.wait(
            "an answer of the console", lambda: bool(answer.search(shown.read_text(errors="replace"))), 60, console
        )
        print(answer.findall(shown.read_text(errors="replace"))[-1], flush=True)
    finally:
        os.killpg(console.pid, signal.SIGTERM)
        console.wait(20)


def _answers() -> bool:
    """Whether the app says 200."""
    connection = http.client.HTTPConnection("127.0.0.1", APP_PORT, timeout=1)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
