"""The command ``k3s``. Started by the file that ``eaves.testing.k3s`` writes."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from tests.k3s import log

_USAGE = """NAME:
   k3s - Kubernetes, but small and simple

USAGE:
   k3s [global options] command [command options] [arguments...]

COMMANDS:
   server           Run management server
   agent            Run node agent
   kubectl          Run kubectl
   crictl           Run crictl
   ctr              Run ctr
   check-config     Run config check
   token            Manage tokens
   etcd-snapshot    Manage etcd snapshots
   secrets-encrypt  Control secrets encryption and keys rotation
   certificate      Manage K3s certificates
   help, h          Shows a list of commands or help for one command
"""


def main(argv: Sequence[str]) -> int:
    words = [*argv]
    while words and words[0] == "--debug":
        words.pop(0)
    command = words.pop(0) if words else ""
    try:
        if command in ("--version", "-v"):
            return _print_version()
        if command in ("", "help", "h", "--help", "-h"):
            print(_USAGE)
            return 0
        if command not in _COMMANDS:
            log.fatal(
                f"No help topic for '{command}'"
                if not command.startswith("-")
                else f"flag provided but not defined: -{command.lstrip('-')}"
            )
        if command not in ("kubectl", "ctr", "crictl") and any(word in ("--help", "-h") for word in words):
            print(_USAGE)
            return 0
        return _COMMANDS[command](words)
    except log.FatalError as error:
        log.write_fatal(str(error))
        return 1


def _print_version() -> int:
    from tests.k3s.programs import VERSION

    print(f"k3s version {VERSION} (standin0)\ngo version go1.26")
    return 0


def _server(argv: Sequence[str]) -> int:
    from tests.k3s import options  # each command loads what it needs
    from tests.k3s.server import Server

    found = options.parse(options.SERVER, argv)
    server = Server(found)
    return server.reset() if found.is_on("cluster-reset") else server.run()


def _agent(argv: Sequence[str]) -> int:
    from tests.k3s import options
    from tests.k3s.agentonly import AgentOnly

    return AgentOnly(options.parse(options.AGENT, argv)).run()


def _kubectl(argv: Sequence[str]) -> NoReturn:
    from tests.k3s import programs

    if not os.environ.get("KUBECONFIG") and not (Path.home() / ".kube" / "config").exists():
        os.environ["KUBECONFIG"] = "/etc/rancher/k3s/k3s.yaml"
    program = programs.kube("kubectl")
    os.execv(program[0], [*program, *argv])


def _ctr(argv: Sequence[str]) -> NoReturn:
    from tests.k3s import programs
    from tests.k3s.paths import CONTAINERD_SOCKET

    os.environ.setdefault("CONTAINERD_ADDRESS", str(CONTAINERD_SOCKET))
    os.environ.setdefault("CONTAINERD_NAMESPACE", "k8s.io")
    program = programs.program("containerd", "ctr")
    os.execv(program, [program, *argv])


def _crictl(argv: Sequence[str]) -> NoReturn:
    """K3s writes ``agent/etc/crictl.yaml`` for its own; here the socket, which is always in one place, is named by the environment."""
    from tests.k3s import programs
    from tests.k3s.paths import CONTAINERD_SOCKET

    os.environ.setdefault("CONTAINER_RUNTIME_ENDPOINT", f"unix://{CONTAINERD_SOCKET}")
    program = programs.program("crictl", "crictl")
    os.execv(program, [program, *argv])


def _check_config(_argv: Sequence[str]) -> int:
    from tests.k3s import checkconfig

    return checkconfig.run()


def _module(name: str) -> Callable[[Sequence[str]], int]:
    def run(argv: Sequence[str]) -> int:
        found: Callable[[Sequence[str]], int] = importlib.import_module(f"tests.k3s.{name}").run
        return found(argv)

    return run


_COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "server": _server,
    "agent": _agent,
    "kubectl": _kubectl,
    "ctr": _ctr,
    "crictl": _crictl,
    "check-config": _check_config,
    "etcd-snapshot": _module("snapshots"),
    "certificate": _module("certificates"),
    "token": _module("tokencommand"),
    "secrets-encrypt": _module("secretsencryption"),
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
