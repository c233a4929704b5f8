"""What ``kubectl eaves console`` and ``vnc`` share: the virtual machine that is meant, and why it cannot be reached."""

from __future__ import annotations

from typing import Any

from eaves.cli.kubectl import Kubectl
from eaves.kit.errors import EavesError


def load_machine(kubectl: Kubectl, target: str) -> dict[str, Any]:
    """The App that ``target`` (``NAME``, ``app/NAME`` or ``pod/NAME``) names. Raises EavesError when it is no machine that runs."""
    kind, _, name = target.rpartition("/")
    if kind not in ("", "app", "apps", "pod", "pods", "po", "ea"):
        raise EavesError(f"{target!r} is no virtual machine", resolution="name an App, as plc or app/plc")
    app = kubectl.get("app", name)
    if app["spec"].get("type") != "VirtualMachine":
        remedy = f"use kubectl logs or kubectl exec with pod/{name}"
        raise EavesError(f"app {name} is a container and has neither screen nor serial console", resolution=remedy)
    phase = (app.get("status") or {}).get("phase") or "Pending"
    if phase != "Running":
        raise EavesError(f"app {name} is not running: its phase is {phase}", resolution=f"kubectl eaves why app/{name}")
    return app


def check_screen(app: dict[str, Any]) -> None:
    """Raises EavesError when the machine has no screen."""
    vnc, name = (app["spec"].get("vm") or {}).get("vnc"), app["metadata"]["name"]
    if vnc is None or not vnc.get("enabled", True):
        remedy = (
            f'kubectl patch app {name} --type=merge -p \'{{"spec":{{"vm":{{"vnc":{{"enabled":true}}}}}}}}\'; '
            "it has one from its next start on"
        )
        raise EavesError(f"app {name} was given no screen", resolution=remedy)


def check_console(app: dict[str, Any]) -> None:
    """Raises EavesError when the machine has no serial console."""
    name = app["metadata"]["name"]
    if not (app["spec"].get("vm") or {}).get("serialConsole", True):
        remedy = f"set spec.vm.serialConsole of app {name} to true; it has one from its next start on"
        raise EavesError(f"app {name} was given no serial console", resolution=remedy)
