"""v1 Pod: a view of an App, so that ``kubectl get pods``, ``describe`` and ``logs`` work.

Nothing is stored: :func:`eaves.kinds.pod_projection.project_pod` makes the Pod of an App, which owns it: deleting the
Pod restarts the app. A Pod that is not made from an App cannot be created. The Structs are the part of the kind that
a view can fill.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct, field

from eaves.kinds.app_spec import EnvFrom, EnvVar
from eaves.kinds.app_status import ContainerState
from eaves.kinds.columns import age_of, get
from eaves.kinds.fields import Quantity, Time, about, merging
from eaves.kinds.node import NodeCondition
from eaves.kinds.serving import core_resource, text_at
from eaves.kube.resource import Column, Object, Subresource, Verb
from eaves.kube.tables import age_column, name_column


class ContainerPort(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """A port that the container listens on."""

    container_port: Annotated[int, about("Port inside the container.")]
    host_port: Annotated[int, about("Port of the node that leads to it.")] = 0
    protocol: Annotated[str, about("TCP or UDP.")] = "TCP"
    name: Annotated[str, about("Name of the port.")] = ""


class VolumeMount(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Where a volume is mounted."""

    name: Annotated[str, about("Name of the volume.")]
    mount_path: Annotated[str, about("Path inside the container.")]
    read_only: Annotated[bool, about("The container cannot write to it.")] = False


class ResourceRequirements(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """What the container gets."""

    limits: Annotated[dict[str, Quantity], about("At most.")] = {}
    requests: Annotated[dict[str, Quantity], about("At least.")] = {}


class Container(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """The container of the app."""

    name: Annotated[str, about("Name of the container.")]
    image: Annotated[str, about("Image reference.")] = ""
    command: Annotated[list[str], about("Replaces the image's entrypoint.")] = []
    args: Annotated[list[str], about("Arguments.")] = []
    working_dir: Annotated[str, about("Working directory.")] = ""
    ports: Annotated[list[ContainerPort], merging("containerPort", "Ports.")] = []
    env: Annotated[list[EnvVar], merging("name", "Environment variables.")] = []
    env_from: Annotated[list[EnvFrom], about("Environment variables from Secrets and ConfigMaps.")] = []
    resources: Annotated[ResourceRequirements | None, about("What it gets.")] = None
    volume_mounts: Annotated[list[VolumeMount], merging("mountPath", "Where volumes are mounted.")] = []
    image_pull_policy: Annotated[str, about("Always IfNotPresent: nodes keep what they have.")] = ""
    stdin: Annotated[bool, about("It takes input: the serial console of a virtual machine.")] = False
    tty: Annotated[bool, about("Its input is a terminal: the serial console of a virtual machine.")] = False


class EmptyDir(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """A volume of the app's own."""

    size_limit: Annotated[Quantity | None, about("Its size.")] = None


class ClaimSource(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """A Volume object."""

    claim_name: Annotated[str, about("Name of the Volume.")]
    read_only: Annotated[bool, about("Nobody writes to it.")] = False


class PodVolume(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """A volume of the app."""

    name: Annotated[str, about("Name of the volume.")]
    empty_dir: Annotated[EmptyDir | None, about("A volume of the app's own; it survives restarts and updates.")] = None
    persistent_volume_claim: Annotated[ClaimSource | None, about("A Volume object.")] = None


class PodSpec(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """What runs where."""

    containers: Annotated[list[Container], merging("name", "The one container.")] = []
    volumes: Annotated[list[PodVolume], merging("name", "Volumes.")] = []
    node_name: Annotated[str, about("Node that it runs on.")] = ""
    restart_policy: Annotated[str, about("Always, OnFailure or Never.")] = ""
    termination_grace_period_seconds: Annotated[int | None, about("Time between the request to stop and the kill.")] = (
        None
    )
    hostname: Annotated[str, about("Host name inside.")] = ""
    service_account_name: Annotated[str, about("Not used.")] = ""


class ContainerStatus(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """What the container does."""

    name: Annotated[str, about("Name of the container.")]
    ready: Annotated[bool, about("Whether it runs.")]
    restart_count: Annotated[int, about("How often it was started again.")]
    image: Annotated[str, about("Image reference.")]
    image_id: Annotated[str, about("Digest of the image.")] = field(name="imageID")
    state: Annotated[ContainerState | None, about("What it is doing now.")] = None
    last_state: Annotated[ContainerState | None, about("How the run before ended.")] = None
    container_id: Annotated[str, about("Name on the node.")] = field(name="containerID", default="")
    started: Annotated[bool | None, about("Whether it has started.")] = None


class PodIP(Struct, frozen=True, rename="camel", kw_only=True):
    """An address of the pod."""

    ip: Annotated[str, about("IP address.")]


class PodStatus(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """What is known of the pod."""

    phase: Annotated[str, about("Pending, Running, Succeeded, Failed or Unknown.")] = ""
    conditions: Annotated[list[NodeCondition], merging("type", "Aspects of its state.")] = []
    message: Annotated[str, about("What is going on, for people.")] = ""
    reason: Annotated[str, about("What is going on, as one word.")] = ""
    host_ip: Annotated[str, about("Address of the node.")] = field(name="hostIP", default="")
    host_ips: Annotated[list[PodIP], about("Addresses of the node.")] = field(name="hostIPs", default_factory=list)
    pod_ip: Annotated[str, about("First address of the pod.")] = field(name="podIP", default="")
    pod_ips: Annotated[list[PodIP], merging("ip", "Addresses of the pod.")] = field(name="podIPs", default_factory=list)
    start_time: Annotated[Time | None, about("When the node took it on.")] = None
    container_statuses: Annotated[list[ContainerStatus], about("What the container does.")] = []
    qos_class: Annotated[str, about("Guaranteed or Burstable.")] = ""


class Pod(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Pod is a view of an App. Change the App instead; deleting the Pod restarts the app."""

    spec: Annotated[PodSpec, about("What runs where.")] = PodSpec()
    status: Annotated[PodStatus, about("What is known of it.")] = PodStatus()


def _containers(obj: Object) -> list[Object]:
    return list(get(obj, ["status", "containerStatuses"], ()))


def _ready(obj: Object, _now: float) -> str:
    total = len(get(obj, ["spec", "containers"], ()))
    return f"{sum(1 for container in _containers(obj) if container.get('ready'))}/{total}"


def status_text(obj: Object, _now: float = 0.0) -> str:
    """The STATUS cell: the reason of what keeps the container from running, else the phase."""
    if get(obj, ["metadata", "deletionTimestamp"], ""):
        return "Terminating"
    text = str(get(obj, ["status", "reason"]) or get(obj, ["status", "phase"]))
    for container in _containers(obj):
        state = container.get("state") or {}
        if state.get("waiting", {}).get("reason"):
            text = state["waiting"]["reason"]
        elif "terminated" in state:
            text = state["terminated"].get("reason") or f"ExitCode:{state['terminated'].get('exitCode', 0)}"
    return text


def _restarts(obj: Object, now: float) -> str:
    containers = _containers(obj)
    restarts = sum(container.get("restartCount", 0) for container in containers)
    finished = [get(container, ["lastState", "terminated", "finishedAt"]) for container in containers]
    last = max((text for text in finished if text), default="")
    return f"{restarts} ({age_of(last, now)} ago)" if restarts and last else str(restarts)


def _ip(obj: Object, _now: float) -> str:
    return str(get(obj, ["status", "podIP"])) or "<none>"


def _node(obj: Object, _now: float) -> str:
    return str(get(obj, ["spec", "nodeName"])) or "<none>"


def _none(_obj: Object, _now: float) -> str:
    return "<none>"


RESOURCE = core_resource(
    Pod,
    "pods",
    namespaced=True,
    short_names=("po",),
    categories=("all",),
    verbs=frozenset({Verb.GET, Verb.LIST, Verb.WATCH, Verb.CREATE, Verb.DELETE, Verb.DELETE_COLLECTION}),
    subresources=(
        Subresource("attach", frozenset({"create", "get"}), "PodAttachOptions", "", "v1"),
        Subresource("exec", frozenset({"create", "get"}), "PodExecOptions", "", "v1"),
        Subresource("log", frozenset({"get"})),
        Subresource("portforward", frozenset({"create", "get"}), "PodPortForwardOptions", "", "v1"),
        Subresource("status", frozenset({"get"})),
    ),
    columns=(
        name_column(),
        Column("Ready", "string", _ready, "Containers that run, of all."),
        Column("Status", "string", status_text, "What the container does."),
        Column("Restarts", "string", _restarts, "How often containers were started again, and when last."),
        age_column(),
        Column("IP", "string", _ip, "Address of the pod.", priority=1),
        Column("Node", "string", _node, "Node that it runs on.", priority=1),
        Column("Nominated Node", "string", _none, "Not used.", priority=1),
        Column("Readiness Gates", "string", _none, "Not used.", priority=1),
    ),
    selectable_fields={
        "spec.nodeName": text_at("spec", "nodeName"),
        "spec.restartPolicy": text_at("spec", "restartPolicy"),
        "status.phase": text_at("status", "phase"),
        "status.podIP": text_at("status", "podIP"),
    },
    has_status=True,
)
