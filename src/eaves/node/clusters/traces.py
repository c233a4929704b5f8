"""What K3s leaves on a host, by name and by text: which of it is its own. Pure.

The names are those of K3s's own ``k3s-killall.sh`` and ``k3s-uninstall.sh``. What was there before K3s first ran is not K3s's: it is noted
then (:class:`.model.HostBefore`) and left.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import PurePath

LINKS = ("cni0", "flannel.1", "flannel-v6.1", "flannel-wg", "flannel-wg-v6", "kube-ipvs0", "kube-bridge")
PATHS = (
    *("/run/k3s", "/run/flannel", "/etc/rancher/k3s", "/etc/rancher/node", "/etc/rancher", "/var/lib/kubelet"),
    *("/var/lib/cni", "/var/log/pods", "/var/log/containers", "/var/lib/rancher", "/usr/libexec/kubernetes"),
)
"""Outside of its data folder; the outer after the inner."""
SYSCTLS = (
    "vm.overcommit_memory",
    "vm.panic_on_oom",
    "kernel.panic",
    "kernel.panic_on_oops",
    "kernel.keys.root_maxkeys",
    "kernel.keys.root_maxbytes",
)
CNI_NETWORK = "cbr0"
"""Name of K3s's flannel network in the records of CNI plugins."""
_CHAIN = re.compile(r"(KUBE-|FLANNEL-|CNI-)[A-Za-z0-9_-]*")


def list_chains(saved: str) -> list[str]:
    """``table chain`` of K3s-like chains in what ``iptables-save`` prints."""
    found, table = [], ""
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif line.startswith(":") and _CHAIN.match(line[1:]):
            found.append(f"{table} {line[1:].split(' ')[0]}")
    return found


def render_cleanup(saved: str, before: Collection[str]) -> str:
    """Input for ``iptables-restore --noflush`` that removes K3s's chains and the rules that lead to them, and nothing else.

    ``before``: ``table chain`` of chains that are not K3s's. Empty = nothing to do.
    """
    lines: list[str] = []
    for table, chains, rules in _split_tables(saved):
        ours = [chain for chain in chains if _CHAIN.match(chain) and f"{table} {chain}" not in before]
        if not ours and not any(_is_ours(rule, ours) for rule in rules):
            continue
        named = set(ours)
        deletions = [f"-D {rule[3:]}" for rule in rules if _chain_of(rule) not in named and _is_ours(rule, named)]
        flushes = [f":{chain} - [0:0]" for chain in ours]
        removals = [f"-X {chain}" for chain in ours]
        lines += [f"*{table}", *flushes, *deletions, *removals, "COMMIT"]
    return "\n".join(lines) + "\n" if lines else ""


def list_namespaces(records: Iterable[str]) -> list[str]:
    """Network namespaces of pods, by the results that CNI plugins keep of K3s's network (JSON, one a pod)."""
    found = []
    for text in records:
        try:
            record = json.loads(text)
        except ValueError:
            continue
        path = str(record.get("netns", "")) if isinstance(record, dict) else ""
        if re.fullmatch(r"/(var/)?run/netns/cni-[0-9a-f-]+", path):
            found.append(path)
    return found


def parse_flannel_network(text: str) -> str:
    """Of ``/run/flannel/subnet.env``: the network of all pods, to whose parts host-gw sets routes; empty = none."""
    match = re.search(r"^FLANNEL_NETWORK=([0-9a-f.:]+/\d+)$", text, re.MULTILINE)
    return match[1] if match else ""


def is_own_process(executable: str, command: str, folder: PurePath, run: PurePath) -> bool:
    """Whether a process belongs to the cluster in ``folder``: it runs a program from there, or names it on its command line.

    So does the monitor whose run folder is ``run``, which has K3s started in a moment although nothing is noted of it yet.
    """
    is_monitor = f" {run} " in f" {command} "
    return executable.startswith(f"{folder}/") or f"{folder}/" in command or is_monitor


def list_layer_mounts(table: str, folder: PurePath) -> list[str]:
    """Mount points of a ``mountinfo`` table whose file system is made of layers in ``folder`` (overlay), the innermost first."""
    found = [line.split(" ")[4] for line in table.splitlines() if f"={folder}/" in line.partition(" - ")[2]]
    return sorted(found, reverse=True)


def list_changed(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """Kernel settings to set back."""
    return {name: value for name, value in before.items() if name in now and now[name] != value}


def _split_tables(saved: str) -> list[tuple[str, list[str], list[str]]]:
    """(table, chains, rules)."""
    tables: list[tuple[str, list[str], list[str]]] = []
    for line in saved.splitlines():
        if line.startswith("*"):
            tables.append((line[1:].strip(), [], []))
        elif line.startswith(":") and tables:
            tables[-1][1].append(line[1:].split(" ")[0])
        elif line.startswith("-A ") and tables:
            tables[-1][2].append(line)
    return tables


def _chain_of(rule: str) -> str:
    return rule.split(" ")[1]


def _is_ours(rule: str, ours: Collection[str]) -> bool:
    """A rule that jumps to one of our chains, or bears flannel's or the kubelet's comment."""
    target = re.search(r" (?:-j|-g|--jump|--goto) (\S+)", rule)
    if target and target[1] in ours:
        return True
    comment = re.search(r'--comment "?([^"]*)"?', rule)
    return bool(comment and re.match(r"(flanneld|kubernetes |cni(name)?: ?)", comment[1], re.IGNORECASE) and ours)
