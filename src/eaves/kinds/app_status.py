"""What is known of an App: the Structs of its ``status``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import Struct, field

from eaves.kinds.fields import Conditions, Quantity, Time, about, keyed
from eaves.kinds.vm_status import VmStatus


class AppPhase(StrEnum):
    PENDING = "Pending"
    DOWNLOADING = "Downloading"
    CREATING = "Creating"
    STARTING = "Starting"
    RUNNING = "Running"
    BACK_OFF = "BackOff"
    COMPLETED = "Completed"
    FAILED = "Failed"
    HALTED = "Halted"
    UNKNOWN = "Unknown"


class StateWaiting(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Not running yet, or not at the moment."""

    reason: Annotated[str, about("Why, as one word.")] = ""
    message: Annotated[str, about("Why, for people.")] = ""


class StateRunning(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Running."""

    started_at: Annotated[Time | None, about("Since when.")] = None


class StateTerminated(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Ended."""

    exit_code: Annotated[int, about("Exit code.")] = 0
    reason: Annotated[str, about("Why, as one word: Completed, Error, OOMKilled …")] = ""
    message: Annotated[str, about("Why, for people.")] = ""
    started_at: Annotated[Time | None, about("When it started.")] = None
    finished_at: Annotated[Time | None, about("When it ended.")] = None


class ContainerState(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """At most one of the fields."""

    waiting: Annotated[StateWaiting | None, about("Not running.")] = None
    running: Annotated[StateRunning | None, about("Running.")] = None
    terminated: Annotated[StateTerminated | None, about("Ended.")] = None


class AppAddress(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Addresses of one interface."""

    network: Annotated[str, about("Name of the network.")]
    addresses: Annotated[list[str], about("IP addresses.")] = []
    mac_address: Annotated[str, about("Hardware address.")] = ""


class ImageStatus(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """The image that runs."""

    reference: Annotated[str, about("As asked for.")] = ""
    digest: Annotated[str, about("What it resolved to, as sha256:….")] = ""


class RootDiskStatus(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """The disk that a virtual machine has of its image."""

    image: Annotated[str, about("The image that it was made from, as asked for.")] = ""
    size: Annotated[Quantity | None, about("Size in bytes, at least that of the image.")] = None


class AppStatus(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """What runs."""

    phase: Annotated[AppPhase | None, about("Summary.")] = None
    message: Annotated[str, about("What is going on, for people.")] = ""
    waiting_for: Annotated[str, about("What the app waits for.")] = ""
    conditions: Conditions = []
    node_name: Annotated[str, about("Node that last reported the app.")] = ""
    addresses: Annotated[list[AppAddress], keyed("network", description="Addresses by network.")] = []
    ports: Annotated[list[str], about("Ports of the node that lead to the app, as 8080->80/tcp.")] = []
    image: Annotated[ImageStatus | None, about("The image that runs.")] = None
    root_disk: Annotated[RootDiskStatus | None, about("The root disk of a virtual machine, from nodes of Eaves.")] = (
        None
    )
    container_id: Annotated[str, about("Name of the container on the node.")] = field(name="containerID", default="")
    restarts: Annotated[int, about("How often it was started again.")] = 0
    state: Annotated[ContainerState | None, about("What it is doing now.")] = None
    vm: Annotated[VmStatus | None, about("The virtual machine as it runs.")] = None
    snapshots: Annotated[list[str], about("AppSnapshots that the node holds.")] = []
    custom_status: Annotated[
        str, about("JSON that the app itself posted to the metadata server as its status, at most 32 KiB.")
    ] = ""
    last_state: Annotated[ContainerState | None, about("How the run before ended.")] = None
    observed_generation: Annotated[int, about("Generation of the spec that the node works by.")] = 0
