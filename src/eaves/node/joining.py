"""What ``eaves node join`` does: check what it was given, write certificates, key and settings, start the service.

A machine that joins again, to the same controller or another one, keeps its identity; ``eaves node reset`` gives it a new one.
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from eaves.kit import files, process
from eaves.node.link import identity
from eaves.node.link.errors import IdentityError
from eaves.node.settings import NodeSettings, parse_server, render_settings
from eaves.wire import certificates
from eaves.wire.errors import WireError
from eaves.wire.join import JoinToken

SERVICE = "eaves-node.service"


class Joined(Struct, frozen=True):
    """What came of it. ``is_started``: the service manager runs the daemon now."""

    settings_file: Path
    server: str
    is_started: bool


def load_join_files(server: str, root: Path, certificate: Path, key: Path) -> JoinToken:
    """The same as a token from single files. Raises EavesError naming the file that cannot be read."""
    texts = []
    for path in (root, certificate, key):
        data = files.load_file(path)
        if data is None:
            raise IdentityError("file is missing", element=str(path))
        texts.append(data.decode("utf-8", "replace"))
    return JoinToken(server, *texts)


def save_join(token: JoinToken, folder: Path, settings: NodeSettings) -> NodeSettings:
    """Write everything below ``folder``; answers the settings as written. Raises EavesError when the parts do not fit together."""
    parse_server(token.server)
    _check_roots(token.root_certificates)
    files.want_folder(folder, mode=0o755)
    root, certificate, key = folder / "root-certificate.pem", folder / "onboard.cert.pem", folder / "onboard.key.pem"
    staged = folder / ".joining"
    try:
        # Checked before the files in use are touched: a bad second join must not break a good first one.
        files.want_folder(staged)
        files.save_file(staged / certificate.name, token.onboarding_certificate.encode())
        files.save_file(staged / key.name, token.onboarding_key.encode())
        identity.load_onboarding_signer(staged / certificate.name, staged / key.name)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    files.save_file(root, token.root_certificates.encode(), mode=0o644)
    files.save_file(certificate, token.onboarding_certificate.encode(), mode=0o644)
    files.save_file(key, token.onboarding_key.encode())
    written = replace(
        settings,
        server=token.server,
        root_certificate_file=str(root),
        onboarding_certificate_file=str(certificate),
        onboarding_key_file=str(key),
    )
    files.save_file(folder / "node.toml", render_settings(written).encode(), mode=0o644)
    return written


async def start_service() -> bool:
    """Let systemd run the daemon, now and at each boot; false where there is no systemd or no unit."""
    if not await has_service():
        return False
    await process.run(["systemctl", "enable", SERVICE])
    # A daemon that runs already reads its settings only when it starts.
    await process.run(["systemctl", "restart", SERVICE])
    return True


async def stop_service() -> None:
    """Let systemd no longer run the daemon."""
    if await has_service():
        await process.run(["systemctl", "disable", "--now", SERVICE], timeout_s=120)


async def has_service() -> bool:
    """Whether systemd is there and knows the unit."""
    if not await asyncio.to_thread(Path("/run/systemd/system").is_dir):
        return False
    return (await process.run(["systemctl", "cat", SERVICE], check=False)).returncode == 0


def _check_roots(text: str) -> None:
    try:
        certificates.parse_certificates_pem(text.encode(), "root certificate")
    except WireError as error:
        raise IdentityError(
            "root certificate of the controller cannot be read",
            details=str(error),
            resolution="take it from the controller again",
        ) from error
