"""``eaves controller``: run the controller, rotate its certificates, check its settings."""

from __future__ import annotations

import datetime
import os
from pathlib import Path

import click

_SETTINGS = click.option(
    "--config",
    "settings_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Settings file instead of /etc/eaves/controller.toml.",
)


@click.group()
def command() -> None:
    """Run the controller: the operator API for kubectl, and the gateway for devices."""


@command.command()
@_SETTINGS
def run(settings_file: Path | None) -> None:
    """Run the controller in the foreground until SIGTERM or Ctrl-C.

    The first start makes keys, certificates and admin.kubeconfig in the data folder.

    \b
    Examples:
      eaves controller run
      EAVES_CONTROLLER_DATA_DIR=./data eaves controller run
      KUBECONFIG=/var/lib/eaves-controller/admin.kubeconfig kubectl get nodes
    """
    import uvloop

    from eaves.controller.bootstrap import run_controller
    from eaves.controller.settings import load
    from eaves.kit.logging import start_logging

    settings = load(settings_file, os.environ)
    start_logging(settings.log.level, settings.log.style)
    uvloop.run(run_controller(settings))


@command.command("rotate-certs")
@_SETTINGS
def rotate_certs(settings_file: Path | None) -> None:
    """Make new signing and encryption keys. A running controller takes them up within seconds; devices fetch them by themselves.

    \b
    Example:
      eaves controller rotate-certs
    """
    from eaves.controller.bootstrap import load_identity
    from eaves.controller.settings import load

    identity = load_identity(load(settings_file, os.environ))
    identity.rotate()
    current = identity.current
    click.echo(
        f"rotated: signing certificate {current.signer.cert_hash.hex()[:16]}, {len(current.ecdh)} encryption certificates"
    )


@command.command("new-epoch")
@_SETTINGS
def new_epoch(settings_file: Path | None) -> None:
    """Ask every device for everything anew, after a copy of the data folder was put back. The controller must not run.

    \b
    Example:
      systemctl stop eaves-controller
      eaves controller new-epoch
    """
    import asyncio

    from eaves.controller.bootstrap import renew_epoch
    from eaves.controller.settings import load

    asyncio.run(renew_epoch(load(settings_file, os.environ)))
    click.echo("from the next start on, devices send all that they have to tell")


@command.command("check-settings")
@_SETTINGS
def check_settings(settings_file: Path | None) -> None:
    """Check the settings file and the environment without starting anything.

    \b
    Example:
      eaves controller check-settings --config ./controller.toml
    """
    from eaves.controller.settings import load, want_hosts

    settings = load(settings_file, os.environ)
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    click.echo(f"settings are good ({now}): data in {settings.data_dir}")
    click.echo(f"api on {settings.api.listen}, gateway on {settings.gateway.listen}")
    click.echo(f"server certificate for {', '.join(want_hosts(settings))}")
