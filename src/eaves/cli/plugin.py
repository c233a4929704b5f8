"""``kubectl eaves …``: what kubectl has no verb for. Found by kubectl as the program ``kubectl-eaves`` on PATH."""

from __future__ import annotations

import datetime
import sys
import time
from pathlib import Path
from typing import Any

import click

from eaves.cli import clusteraccess, export, failures, flows, k3s_release, machines, model, onboarding, screen, why
from eaves.cli.console import run_console
from eaves.cli.kubectl import Kubectl
from eaves.cli.plugin_frame import PluginGroup, complete_machines, complete_names, complete_objects, make_kubectl
from eaves.kit.errors import EavesError

_SETTINGS = {"help_option_names": ["-h", "--help"]}


@click.group(cls=PluginGroup, context_settings=_SETTINGS)
@click.option("--kubeconfig", help="Path of the kubeconfig file.")
@click.option("--context", "context_name", help="Name of the kubeconfig context.")
@click.option("-n", "--namespace", help="Namespace of namespaced objects.", shell_complete=complete_names("namespaces"))
@click.pass_context
def command(context: click.Context, /, **_options: str | None) -> None:
    """Operate Eaves edge nodes beside kubectl's own verbs. These options may also stand behind a command."""
    context.obj = make_kubectl(context)


@command.command(epilog="Example:\n\n\b\n  kubectl eaves approve store-17 store-18")
@click.argument("nodes", nargs=-1, required=True, shell_complete=complete_names("edgenodes"))
@click.pass_obj
def approve(kubectl: Kubectl, nodes: tuple[str, ...]) -> None:
    """Trust NODES: from now on they get apps and secrets."""
    for name in nodes:
        if kubectl.get("edgenode", name).get("spec", {}).get("approved"):
            click.echo(f"edgenode/{name} was approved already")
            continue
        kubectl.merge_patch("edgenode", name, {"spec": {"approved": True}})
        click.echo(f"edgenode/{name} approved")


@command.command(epilog="Examples:\n\n\b\n  kubectl eaves reboot store-17\n  kubectl eaves reboot store-17 --wait 10m")
@click.argument("nodes", nargs=-1, required=True, shell_complete=complete_names("edgenodes"))
@click.option("--wait", "wait_for", help="Wait until the node is back, at most this long (90s, 10m).")
@click.pass_obj
def reboot(kubectl: Kubectl, nodes: tuple[str, ...], wait_for: str | None) -> None:
    """Reboot NODES at their next contact; their apps start again by themselves."""
    limit_s = None if wait_for is None else parse_duration_s(wait_for)
    before = {}
    for name in nodes:
        node = kubectl.get("edgenode", name)
        before[name] = node.get("status", {}).get("restartCounter", 0)
        counter = node.get("spec", {}).get("rebootCounter", 0)
        # The version makes two operators' reboots at one moment two counted steps or one clear conflict, never a lost one.
        patch = {
            "metadata": {"resourceVersion": node["metadata"]["resourceVersion"]},
            "spec": {"rebootCounter": counter + 1},
        }
        kubectl.merge_patch("edgenode", name, patch)
        click.echo(f"edgenode/{name} will reboot at its next contact")
    if limit_s is not None:
        _wait_for_boot(kubectl, before, limit_s)


def _wait_for_boot(kubectl: Kubectl, before: dict[str, int], limit_s: float) -> None:
    waiting, end = dict(before), time.monotonic() + limit_s
    while waiting:
        for name, counter in list(waiting.items()):
            if kubectl.get("edgenode", name).get("status", {}).get("restartCounter", 0) != counter:
                del waiting[name]
                click.echo(f"edgenode/{name} is back")
        if waiting and time.monotonic() > end:
            raise EavesError(
                f"not back after {limit_s:g} s: {', '.join(sorted(waiting))}",
                resolution=f"kubectl eaves why edgenode/{min(waiting)}",
            )
        if waiting:
            time.sleep(1)


@command.group("onboarding-key", context_settings=_SETTINGS)
def onboarding_key() -> None:
    """Let machines join."""


@onboarding_key.command("create", epilog=onboarding.EXAMPLES)
@click.argument("name")
@click.option(
    "--approval",
    type=click.Choice(["manual", "automatic"]),
    default="manual",
    show_default=True,
    help="Who approves nodes.",
)
@click.option(
    "--max-uses", type=click.IntRange(min=1), help="How many machines may join with it; no limit when absent."
)
@click.option("--expires", default="24h", show_default=True, help="Time it is good for, as 90m, 24h or 30d.")
@click.option(
    "--serial", "serials", multiple=True, help="Only this serial number may join; may be given more than once."
)
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Label of the nodes that join with it.")
@click.option("--server", help="Address of the device gateway, HOST:PORT; as the controller announces it when absent.")
@click.pass_obj
def create_onboarding_key(kubectl: Kubectl, /, name: str, server: str | None, expires: str, **terms: Any) -> None:
    """Create the onboarding key NAME and print the one command that joins a machine.

    The private half is made here, is in the printed command, and is kept nowhere else.
    """
    now = datetime.datetime.now(datetime.UTC)
    lifetime = datetime.timedelta(seconds=parse_duration_s(expires))
    key = onboarding.make_key(name, now, lifetime)
    announced = onboarding.load_gateway(kubectl, server)
    kubectl.create(onboarding.render_object(name, key, now + lifetime, terms))
    click.echo(
        f"onboardingkey/{name} created, good until {now + lifetime:%Y-%m-%d %H:%M} UTC. On the machine, as root:\n",
        err=True,
    )
    click.echo(onboarding.render_command(announced, key))
    if terms["approval"] == "manual":
        click.echo("\nThen here: kubectl get edgenodes, and kubectl eaves approve NODE", err=True)


@command.command("why", epilog=why.EXAMPLES)
@click.argument("target", metavar="OBJECT", shell_complete=complete_objects)
@click.pass_obj
def explain(kubectl: Kubectl, target: str) -> None:
    """Say where OBJECT stands and what it waits for, step by step.

    OBJECT is KIND/NAME (app, pod, edgenode or node), or the NAME of an app.
    """
    report = why.explain(kubectl, target)
    click.echo(why.render(report, color=sys.stdout.isatty()))


@command.command("model-from-node", epilog=model.EXAMPLES)
@click.argument("node", shell_complete=complete_names("edgenodes"))
@click.option("--name", default="", help="Name of the HardwareModel; NODE-model when absent.")
@click.pass_obj
def model_from_node(kubectl: Kubectl, node: str, name: str) -> None:
    """Print a HardwareModel made from the devices that NODE reports.

    Look it through before you apply it: names are counted, and every device but the node's own ports can be assigned.
    """
    click.echo(model.load_model(kubectl, node, name), nl=False)


@command.command("flows", epilog=flows.EXAMPLES)
@click.argument("app", shell_complete=complete_names("apps"))
@click.option("--since", default="", help="Only what arrived lately, as 15m or 24h.")
@click.option("--limit", default=200, show_default=True, type=click.IntRange(1, 2000), help="At most so many records.")
@click.option("--dns", "is_dns", is_flag=True, help="Show the names that the app asked for.")
@click.pass_obj
def show_flows(kubectl: Kubectl, app: str, since: str, limit: int, is_dns: bool) -> None:
    """Show with whom APP speaks: connections, drops, the rule that decided, bytes both ways.

    Its Network must ask for flow logs (spec.disableFlowlog: false).
    """
    document = flows.load_flows(kubectl, app, since_s=parse_duration_s(since) if since else 0, limit=limit)
    click.echo(flows.render_dns(document) if is_dns else flows.render_flows(document))


@command.command("kubeconfig", epilog=clusteraccess.EXAMPLES)
@click.argument("cluster", metavar="CLUSTER", shell_complete=complete_names("k3sclusters"))
@click.option("--name", "context_name", default="", help="Name of the new context; the cluster's own when absent.")
@click.option("--stdout", "is_printed", is_flag=True, help="Print a kubeconfig of its own instead.")
@click.option("--output", type=click.Path(dir_okay=False), help="Write a kubeconfig of its own to this file instead.")
@click.pass_obj
def kubeconfig(kubectl: Kubectl, cluster: str, context_name: str, is_printed: bool, output: str | None) -> None:
    """Write a kubectl context for the K3s cluster CLUSTER, which leads through the controller.

    It uses your own credential for the controller: no credential of the cluster exists outside it. The context goes into the kubeconfig in
    use and the current one stays. What you may do in the cluster is said by roles and K3sClusterAccess.
    """
    caller = clusteraccess.load_caller(kubectl)
    namespace = kubectl.namespace()
    kubectl.get("k3scluster.eaves.dev", cluster, namespace)
    name = context_name or cluster
    entry = clusteraccess.render_cluster(caller, namespace, cluster)
    if is_printed:
        click.echo(clusteraccess.render_kubeconfig(caller, entry, name), nl=False)
    elif output:
        clusteraccess.save_kubeconfig(Path(output), clusteraccess.render_kubeconfig(caller, entry, name))
        click.echo(f"{output} written; try: kubectl --kubeconfig {output} get nodes", err=True)
    else:
        clusteraccess.merge_context(kubectl, caller, entry, name)
        click.echo(f"context {name} written; try: kubectl --context {name} get nodes", err=True)


@command.group("k3s-release", context_settings=_SETTINGS)
def k3s_releases() -> None:
    """Versions of K3s for clusters."""


@k3s_releases.command("import", epilog=k3s_release.EXAMPLES)
@click.argument("version")
@click.option(
    "--datastore", required=True, shell_complete=complete_names("datastores"), help="Datastore that has the files."
)
@click.option(
    "--checksums",
    multiple=True,
    metavar="FILE|URL",
    help="sha256sum-ARCH.txt of the release, {arch} stands for each architecture; from K3s' own release page when absent.",
)
@click.option(
    "--arch",
    "architectures",
    multiple=True,
    type=click.Choice(list(k3s_release.BINARIES)),
    help="Only this architecture; may be given more than once.",
)
@click.option("--folder", default="", help="Folder of the files below the Datastore's own path; VERSION when absent.")
@click.option("--name", default="", help="Name of the K3sRelease; VERSION with - for + when absent.")
@click.option(
    "--no-images", is_flag=True, help="Leave the air-gap images out: nodes then pull K3s' own images from the net."
)
@click.pass_obj
def import_k3s_release(kubectl: Kubectl, /, architectures: tuple[str, ...], *, no_images: bool, **given: Any) -> None:
    """Make the K3sRelease of VERSION (vX.Y.Z+k3sN) from the release's checksum files. Doing it again changes nothing.

    Nothing but the checksum files is fetched: the files are the Datastore's, and nodes check them.
    """
    chosen = architectures or tuple(k3s_release.BINARIES)
    options = k3s_release.ImportOptions(architectures=chosen, with_images=not no_images, **given)
    document = k3s_release.render_release(options, k3s_release.load_sums(options, k3s_release.read_source))
    done = k3s_release.save_release(kubectl, document)
    found = ", ".join(build["architecture"] for build in document["spec"]["architectures"])
    click.echo(f"k3srelease/{document['metadata']['name']} {done} ({found})")


@command.command(epilog="Examples:\n\n\b\n  kubectl eaves console plc\n  kubectl eaves -n factory console app/plc")
@click.argument("target", metavar="VM", shell_complete=complete_machines)
@click.pass_obj
def console(kubectl: Kubectl, target: str) -> int:
    """Open the serial console of the virtual machine VM. Ctrl-] leaves it."""
    app = machines.load_machine(kubectl, target)
    machines.check_console(app)
    metadata = app["metadata"]
    if sys.stdin.isatty():
        click.echo("Ctrl-] leaves the console.", err=True)
    flags = "-it" if sys.stdin.isatty() else "-i"
    attach = kubectl.argv("attach", flags, "-n", metadata["namespace"], f"pod/{metadata['name']}", "--quiet")
    return run_console(attach)


@command.command(
    epilog="Examples:\n\n\b\n  kubectl eaves vnc plc\n  kubectl eaves vnc plc --port 5901   # then: vncviewer 127.0.0.1:5901"
)
@click.argument("target", metavar="VM", shell_complete=complete_machines)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Local port; a free one when absent.")
@click.option("--address", default="127.0.0.1", show_default=True, help="Local address to listen at.")
@click.pass_obj
def vnc(kubectl: Kubectl, target: str, port: int, address: str) -> None:
    """Show the screen of the virtual machine VM: a local port for any VNC viewer, until Ctrl-C."""
    app = machines.load_machine(kubectl, target)
    machines.check_screen(app)
    path = screen.screen_path(app["metadata"]["namespace"], app["metadata"]["name"])
    screen.run_screen(kubectl, path, address, port, lambda text: click.echo(text, err=True))


@command.command("export", epilog=export.EXAMPLES)
@click.argument("target", metavar="VM|VOLUME", shell_complete=complete_machines)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--disk", default="", help="A disk of the machine other than its root disk, by its name in spec.volumes.")
@click.option("--snapshot", default="", help="Name of the AppSnapshot or VolumeSnapshot to take it from.")
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@click.pass_obj
def export_image(kubectl: Kubectl, /, target: str, file: Path, *, disk: str, snapshot: str, force: bool) -> None:
    """Write a disk of a virtual machine, or a volume, to FILE as a compressed qcow2 image.

    What runs goes on running: the image is of one moment.
    """
    if file.exists() and not force:
        raise EavesError(f"{file} is there already", resolution="name another file, or give --force")
    path = export.find_path(kubectl.namespace(), target)
    query = {name: value for name, value in (("disk", disk), ("snapshot", snapshot)) if value}
    is_terminal = sys.stderr.isatty()

    def show(text: str) -> None:
        if is_terminal:
            click.echo(f"\r\x1b[K{text}", nl=False, err=True)

    line = export.run_export(kubectl, path, query, file, show)
    show("")
    click.echo(f"{file}: {line.size_bytes} bytes, a disk of {line.virtual_bytes} bytes, sha256:{line.sha256}")


def parse_duration_s(text: str) -> float:
    """``90s``, ``15m``, ``24h``, ``30d`` in seconds. Raises EavesError."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    number, unit = text[:-1], text[-1:]
    if unit not in units or not number.isdigit() or int(number) == 0:
        raise EavesError(
            f"{text!r} is not a duration", resolution="write a number and a unit, such as 90s, 15m, 24h or 30d"
        )
    return float(int(number) * units[unit])


def main() -> None:
    """Entry point of the program ``kubectl-eaves``."""
    sys.exit(failures.run_command(command, "kubectl eaves"))
