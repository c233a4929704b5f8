"""``eaves node``: run this machine as an edge node, join it to a controller, look at it, reset it."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from eaves.kit.errors import EavesError

if TYPE_CHECKING:
    from eaves.node.settings import NodeSettings

_SETTINGS = click.option(
    "--config",
    "settings_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Settings file instead of /etc/eaves/node.toml.",
)


@click.group()
def command() -> None:
    """Run this machine as an edge node, or look at it."""


@command.command()
@_SETTINGS
def run(settings_file: Path | None) -> None:
    """Run the node daemon in the foreground. Apps go on running when it ends.

    \b
    Examples:
      eaves node run
      EAVES_NODE_LOG_LEVEL=DEBUG eaves node run --config ./node.toml
    """
    from eaves.node.settings import load_node_settings

    load_node_settings(settings_file)
    # The daemon replaces this process, since what a command line is read with would stay in its memory: 5 MB.
    arguments = [str(settings_file)] if settings_file else []
    os.execv(sys.executable, [sys.executable, "-P", "-m", "eaves.node", *arguments])  # noqa: S606 - no shell is wanted


@command.command()
@click.argument("source")
@click.option(
    "--ca", "root", type=click.Path(dir_okay=False, path_type=Path), help="Root certificate of the controller."
)
@click.option("--onboarding-cert", "certificate", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--onboarding-key", "key", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--token-bundle", "bundle", type=click.File("r"), help="File with a join token; - reads standard input.")
@click.option("--name", default="", help="Name to propose for this node; the host's own when left out.")
@click.option("--no-start", is_flag=True, help="Write the settings only.")
@click.option(
    "--folder", type=click.Path(file_okay=False, path_type=Path), default=Path("/etc/eaves"), show_default=True
)
def join(
    source: str,
    root: Path | None,
    certificate: Path | None,
    key: Path | None,
    bundle: TextIO | None,
    name: str,
    no_start: bool,
    folder: Path,
) -> None:
    """Join this machine to a controller and start the node.

    SOURCE is - for a join token on standard input, or the controller's HOST[:PORT] together with either --token-bundle or the
    three files. A token comes from kubectl eaves onboarding-key create.

    \b
    Examples:
      eaves node join - <<< eaves-join-1.…
      eaves node join edge.example:8443 --ca root.pem --onboarding-cert onboard.cert.pem --onboarding-key onboard.key.pem
    """
    from eaves.node import joining
    from eaves.node.settings import NodeSettings
    from eaves.wire.join import JoinToken, decode_join_token

    if source == "-":
        token = decode_join_token(sys.stdin.read())
    elif bundle is not None:
        given = decode_join_token(bundle.read())
        token = JoinToken(source, given.root_certificates, given.onboarding_certificate, given.onboarding_key)
    elif root is not None and certificate is not None and key is not None:
        token = joining.load_join_files(source, root, certificate, key)
    else:
        raise click.UsageError("a HOST needs --ca, --onboarding-cert and --onboarding-key, or --token-bundle")
    settings = _load_former(folder / "node.toml") or NodeSettings()
    try:
        written = joining.save_join(token, folder, _with_name(settings, name))
    except PermissionError as error:
        raise EavesError("cannot write settings", element=str(error.filename), resolution="run it with sudo") from error
    is_started = not no_start and asyncio.run(joining.start_service())
    click.echo(f"joined {written.server}")
    if is_started:
        click.echo("the node runs; look at it with: eaves node status")
    else:
        click.echo(f"start it with: eaves node run --config {folder / 'node.toml'}")


@command.command()
@_SETTINGS
@click.option("--json", "as_json", is_flag=True, help="Print the whole snapshot as JSON.")
def status(settings_file: Path | None, as_json: bool) -> None:
    """Show what runs on this node, what waits and for what, also while the controller is out of reach.

    \b
    Examples:
      eaves node status
      eaves node status --json
    """
    import msgspec

    from eaves.node.settings import load_node_settings
    from eaves.node.status import fetch_snapshot, render_snapshot

    settings = load_node_settings(settings_file)
    snapshot = fetch_snapshot(Path(settings.run_dir) / "node.sock")
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(snapshot)).decode())
    else:
        click.echo(render_snapshot(snapshot), nl=False)


@command.command()
@_SETTINGS
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write a file that only you can read.")
def kubeconfig(settings_file: Path | None, output: Path | None) -> None:
    """Print the admin's kubeconfig of the K3s cluster that this node is a server of.

    It works on this machine without any controller and has all rights in the cluster: for emergencies, as root.

    \b
    Examples:
      sudo eaves node kubeconfig --output ~/.kube/config
      KUBECONFIG=<(sudo eaves node kubeconfig) kubectl get nodes
    """
    from eaves.node.clusters.breakglass import load_admin_kubeconfig, save_private
    from eaves.node.settings import load_node_settings

    text = load_admin_kubeconfig(load_node_settings(settings_file).engine)
    if output is None:
        click.echo(text, nl=False)
    else:
        save_private(output, text)
        click.echo(f"written to {output}")


@command.command()
@_SETTINGS
@click.option("--keep-settings", is_flag=True, help="Keep settings and join files, so that the node can onboard anew.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def reset(settings_file: Path | None, keep_settings: bool, yes: bool) -> None:
    """Stop the node and remove every trace of it: apps, their data, networks, images, identity, settings.

    \b
    Examples:
      eaves node reset
      eaves node reset --yes --keep-settings
    """
    from eaves.node.reset import reset_node
    from eaves.node.settings import SETTINGS_FOLDER, load_node_settings

    settings = load_node_settings(settings_file)
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("without a terminal, confirm with --yes")
        click.confirm("Remove all apps of this node with their data?", abort=True)
    folder = settings_file.parent if settings_file is not None else SETTINGS_FOLDER
    asyncio.run(reset_node(settings, None if keep_settings else folder, click.echo))
    click.echo("nothing of the node is left on this machine")


def _load_former(path: Path) -> NodeSettings | None:
    """Settings of an earlier join, whose other keys stay."""
    from eaves.node.settings import load_node_settings

    return load_node_settings(path, {}) if path.exists() else None


def _with_name(settings: NodeSettings, name: str) -> NodeSettings:
    from msgspec.structs import replace

    return replace(settings, name=name) if name else settings
