"""``kubectl eaves why``: the path from an object to the container on the machine, and the first place where it stops.

:func:`explain` reads the objects, everything else is a pure function from them to :class:`Step` values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any

from msgspec import Struct

from eaves.cli.kubectl import Kubectl, KubectlError
from eaves.kit.errors import EavesError

EXAMPLES = """Examples:

\b
  kubectl eaves why app/web
  kubectl eaves why -n shop app/till
  kubectl eaves why edgenode/store-17
  kubectl eaves why k3scluster/shop-17
"""

Object = dict[str, Any]


class Mark(StrEnum):
    """How a step stands."""

    DONE = "ok"
    WAITING = "waiting"
    FAILED = "failed"
    OPEN = "open"
    """Not reached yet."""


class Step(Struct, frozen=True):
    """One station on the way; ``remedy`` says what a person can do, empty when time will do."""

    title: str
    mark: Mark
    text: str
    remedy: str = ""


class Report(Struct, frozen=True):
    """All stations of one object, and the latest warnings about it."""

    target: str
    steps: tuple[Step, ...]
    warnings: tuple[str, ...] = ()

    @property
    def verdict(self) -> str:
        """The answer in one sentence: the first station that is not done."""
        stop = next((step for step in self.steps if step.mark is not Mark.DONE), None)
        if stop is None:
            return f"{self.target} is as asked"
        verb = "failed at" if stop.mark is Mark.FAILED else "waits at"
        return f"{self.target} {verb} {stop.title}: {stop.text}"


def explain(kubectl: Kubectl, target: str) -> Report:
    """Read the object and what it depends on. Raises EavesError for a kind that has no such path or an unknown object."""
    kind, name = _parse_target(target)
    if kind == "edgenode":
        edgenode = kubectl.get("edgenode", name)
        return Report(f"edgenode/{name}", tuple(node_steps(edgenode)), _load_warnings(kubectl, edgenode))
    namespace = kubectl.namespace()
    if kind == "k3scluster":
        cluster = kubectl.get("k3scluster", name, namespace)
        return Report(f"k3scluster/{name}", tuple(cluster_steps(cluster)), _load_warnings(kubectl, cluster))
    app = kubectl.get("app", name, namespace)
    owner = app.get("spec", {}).get("nodeName", "")
    node = _find_node(kubectl, owner) if owner else None
    steps = [*app_steps(app, node)]
    return Report(f"app/{name}", tuple(steps), _load_warnings(kubectl, app))


def app_steps(app: Object, node: Object | None) -> Iterator[Step]:
    """App → node → config sent → config applied → image → container or virtual machine."""
    spec = app.get("spec", {})
    name = spec.get("nodeName", "")
    yield Step("app", Mark.DONE, f"stored, generation {app['metadata'].get('generation', 1)}")
    if not name:
        yield Step(
            "node", Mark.WAITING, "spec.nodeName is empty", "kubectl edit app: name an EdgeNode in spec.nodeName"
        )
        return
    if node is None:
        yield Step(
            "node", Mark.WAITING, f"EdgeNode {name} does not exist", "kubectl get edgenodes shows the known ones"
        )
        return
    trust = _approval(node)
    yield trust
    contact = _contact(node)
    configured = _find(app, "Configured")
    yield _config_made(configured, trust)
    yield contact if contact.mark is not Mark.DONE else _config_applied(app, node)
    if spec.get("running") is False:
        yield _halted(app)
        return
    yield _image(app)
    yield _workload(app)


def node_steps(node: Object) -> Iterator[Step]:
    """Registered → approved → in contact → attested → config applied → ready."""
    status = node.get("status", {})
    yield Step("registration", Mark.DONE, f"known as device {node['metadata'].get('uid', '')}")
    yield _approval(node)
    yield _contact(node)
    if (attested := _find(node, "Attested")) is not None:
        yield _from_condition("attestation", attested, "attested")
    yield _node_config(status)
    if (ready := _find(node, "Ready")) is not None:
        yield _from_condition("readiness", ready, "ready")
    for problem in status.get("problems") or ():
        yield Step("device", Mark.FAILED, problem)


def cluster_steps(cluster: Object) -> Iterator[Step]:
    """Stored → what its members wait for → each member → API → backup."""
    yield Step("cluster", Mark.DONE, f"stored, generation {cluster['metadata'].get('generation', 1)}")
    # True of these says that something is under way or wrong.
    for kind, title in (("Progressing", "progress"), ("Upgrading", "upgrade"), ("Degraded", "health")):
        condition = _find(cluster, kind)
        if condition is not None and condition["status"] == "True":
            mark = Mark.FAILED if kind == "Degraded" else Mark.WAITING
            yield Step(title, mark, condition.get("message") or condition.get("reason", ""))
    for member in cluster.get("status", {}).get("members") or ():
        yield _member(member)
    support = _find(cluster, "SpecSupported")
    if support is not None and support["status"] == "False":
        # Nothing is waited for: these members are as they can be.
        yield Step("EVE members", Mark.DONE, support.get("message", ""))
    for kind, title, good in (("APIAvailable", "API", "answers"), ("BackupHealthy", "backup", "is taken as asked")):
        condition = _find(cluster, kind)
        # Unknown: none is asked for.
        if condition is not None and condition["status"] != "Unknown":
            yield _from_condition(title, condition, good)


def render(report: Report, *, color: bool = False) -> str:
    """The report for a terminal: the verdict first, then the stations."""
    marks = {Mark.DONE: "✔", Mark.WAITING: "…", Mark.FAILED: "✘", Mark.OPEN: "·"}
    colors = {Mark.DONE: "32", Mark.WAITING: "33", Mark.FAILED: "31", Mark.OPEN: "2"}
    lines = [report.verdict, ""]
    for step in report.steps:
        sign = f"\x1b[{colors[step.mark]}m{marks[step.mark]}\x1b[0m" if color else marks[step.mark]
        lines.append(f"  {sign} {step.title:<15} {step.text}")
        if step.remedy:
            lines.append(f"    {'':<15} to do: {step.remedy}")
    if report.warnings:
        lines += ["", "latest warnings:", *(f"  {text}" for text in report.warnings)]
    return "\n".join(lines)


def _approval(node: Object) -> Step:
    name = node["metadata"]["name"]
    if node.get("spec", {}).get("approved"):
        return Step("node", Mark.DONE, f"{name} is approved")
    return Step("node", Mark.WAITING, f"{name} is not approved", f"kubectl eaves approve {name}")


def _contact(node: Object) -> Step:
    status, name = node.get("status", {}), node["metadata"]["name"]
    connected = _find(node, "Connected")
    seen = f", last seen {status['lastSeen']}" if status.get("lastSeen") else ""
    if connected is None or connected["status"] == "Unknown":
        return Step(
            "contact",
            Mark.WAITING,
            f"{name} has not called yet",
            "check power, network and eaves node status on the machine",
        )
    if connected["status"] == "False":
        remedy = "check its power and network; its apps go on meanwhile; on the machine: eaves node status"
        return Step("contact", Mark.WAITING, f"{name} does not call{seen}", remedy)
    return Step("contact", Mark.DONE, f"{name} calls")


def _config_made(configured: Object | None, trust: Step) -> Step:
    if configured is None:
        mark = Mark.OPEN if trust.mark is not Mark.DONE else Mark.WAITING
        return Step("config sent", mark, "the controller has not made a config with it yet")
    return _from_condition("config sent", configured, "it is in the node's config")


def _config_applied(app: Object, node: Object) -> Step:
    wanted = app["metadata"].get("generation", 1)
    observed = app.get("status", {}).get("observedGeneration", 0)
    if observed >= wanted:
        return Step("config applied", Mark.DONE, f"the node works by generation {observed}")
    config = node.get("status", {}).get("config") or {}
    if config.get("applied") and config.get("applied") == config.get("wanted"):
        return Step("config applied", Mark.WAITING, "the node has the config and has not reported the app yet")
    return Step(
        "config applied", Mark.WAITING, f"the node has not taken the config yet (it works by generation {observed})"
    )


def _node_config(status: Object) -> Step:
    config = status.get("config") or {}
    if not config.get("wanted"):
        return Step("config", Mark.WAITING, "no config was made for it yet")
    if config.get("applied") == config["wanted"]:
        return Step("config", Mark.DONE, f"applied {config['applied'][:12]}")
    return Step(
        "config", Mark.WAITING, f"made {config['wanted'][:12]}, the node has {config.get('applied', '')[:12] or 'none'}"
    )


def _image(app: Object) -> Step:
    ready = _find(app, "ImageReady")
    reference = app.get("spec", {}).get("image", "")
    if ready is None:
        return Step("image", Mark.OPEN, f"{reference}: nothing heard of it yet")
    if ready["status"] == "True":
        digest = (app.get("status", {}).get("image") or {}).get("digest", "")
        return Step("image", Mark.DONE, f"{reference} is on the node {digest[:19]}".rstrip())
    is_failed = ready.get("reason") not in ("Downloading", "Waiting")
    return Step(
        "image",
        Mark.FAILED if is_failed else Mark.WAITING,
        f"{reference}: {ready.get('message') or ready.get('reason', '')}",
    )


def _workload(app: Object) -> Step:
    status, title = app.get("status", {}), _noun(app)
    phase, message = status.get("phase", "Pending"), status.get("waitingFor") or status.get("message", "")
    if phase == "Running":
        vm = status.get("vm") or {}
        if vm.get("pausedReason"):
            remedy = "free space or memory on the node; the machine goes on by itself"
            return Step(title, Mark.FAILED, f"is paused: {vm['pausedReason']}", remedy)
        speed = " without hardware virtualisation (TCG), hence slowly" if vm.get("accelerator") == "TCG" else ""
        return Step(title, Mark.DONE, f"runs{speed}, {status.get('restarts', 0)} restarts")
    if phase == "Completed":
        return Step(title, Mark.DONE, "ended with exit code 0")
    if phase in ("BackOff", "Failed"):
        return Step(title, Mark.FAILED, message or phase, f"kubectl logs --previous {app['metadata']['name']}")
    return Step(title, Mark.WAITING if phase != "Pending" else Mark.OPEN, message or phase)


def _member(member: Object) -> Step:
    title = f"{member.get('role', 'member').lower()} {member.get('nodeName', '')}"
    if member.get("ready"):
        return Step(title, Mark.DONE, f"runs {member.get('runningVersion', '')}")
    state = member.get("state", "")
    return Step(
        title, Mark.FAILED if state == "Failed" else Mark.WAITING, member.get("message") or state or "not started yet"
    )


def _halted(app: Object) -> Step:
    status = app.get("status", {})
    if status.get("phase") == "Halted":
        return Step(_noun(app), Mark.DONE, "stopped, as spec.running false asks")
    return Step(_noun(app), Mark.WAITING, f"is to stop, is {status.get('phase', 'unknown')}")


def _noun(app: Object) -> str:
    return "virtual machine" if app.get("spec", {}).get("type") == "VirtualMachine" else "container"


def _from_condition(title: str, condition: Object, good: str) -> Step:
    if condition["status"] == "True":
        return Step(title, Mark.DONE, condition.get("message") or good)
    mark = (
        Mark.FAILED
        if condition["status"] == "False" and condition.get("reason", "").endswith(("Failed", "Error"))
        else Mark.WAITING
    )
    return Step(title, mark, condition.get("message") or condition.get("reason", ""))


def _find(obj: Object, kind: str) -> Object | None:
    conditions: Sequence[Object] = obj.get("status", {}).get("conditions") or ()
    return next((condition for condition in conditions if condition.get("type") == kind), None)


def _find_node(kubectl: Kubectl, name: str) -> Object | None:
    try:
        return kubectl.get("edgenode", name)
    except KubectlError as error:
        if error.not_found:
            return None
        raise


def _load_warnings(kubectl: Kubectl, obj: Object, limit: int = 5) -> tuple[str, ...]:
    meta = obj["metadata"]
    selector = f"involvedObject.uid={meta.get('uid', '')},type=Warning"
    events = kubectl.list("events", meta.get("namespace") or "default", "--field-selector", selector)
    events.sort(key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "")
    return tuple(f"{e.get('lastTimestamp', '')} {e.get('reason', '')}: {e.get('message', '')}" for e in events[-limit:])


def _parse_target(target: str) -> tuple[str, str]:
    kind, slash, name = target.rpartition("/")
    kinds = {"": "app", "app": "app", "apps": "app", "pod": "app", "pods": "app", "po": "app"}
    kinds |= dict.fromkeys(("edgenode", "edgenodes", "en", "node", "nodes", "no"), "edgenode")
    kinds |= dict.fromkeys(("k3scluster", "k3sclusters"), "k3scluster")
    # A kind alone is a name that was forgotten; an app that is called so is app/NAME.
    if kind not in kinds or not name or (not slash and name in kinds):
        raise EavesError(
            f"{target!r} has no path to explain",
            resolution="name app/NAME, pod/NAME, edgenode/NAME, node/NAME or k3scluster/NAME",
        )
    return kinds[kind], name
