"""containerd as K3s runs it, and the image archives that it takes in when it starts."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.k3s import log, programs
from tests.k3s.children import Children
from tests.k3s.options import Options
from tests.k3s.paths import CONTAINERD_SOCKET, RUN, DataDir, write

_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst", ".tar.bz2", ".tbz", ".tar.lz4")
_CONFIG = """version = 3
root = "{root}"
state = "{state}"
oom_score = {oom_score}
[grpc]
  address = "{socket}"
[ttrpc]
  address = "{socket}.ttrpc"
[plugins.'io.containerd.cri.v1.images']
  snapshotter = "{snapshotter}"
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = "{pause}"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = {is_restricted}
  disable_apparmor = {is_restricted}
  enable_cdi = false
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["{cni}"]
    conf_dir = "{cni_configuration}"
  [plugins.'io.containerd.cri.v1.runtime'.containerd]
    default_runtime_name = "runc"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
        BinaryName = "runc"
        SystemdCgroup = false
[plugins.'io.containerd.internal.v1.opt']
  path = "{root}"
[plugins.'io.containerd.nri.v1.nri']
  disable = true
"""


def start(data: DataDir, options: Options, children: Children) -> None:
    """containerd, and into it the archives of ``agent/images``."""
    is_restricted = not may_lower_oom_score()
    text = _CONFIG.format(
        root=data.containerd,
        state=RUN / "containerd",
        socket=CONTAINERD_SOCKET,
        oom_score=0 if is_restricted else -999,
        is_restricted=str(is_restricted).lower(),
        snapshotter=options.text("snapshotter"),
        pause=name_image(options.text("pause-image")),
        cni=programs.folder("cni"),
        cni_configuration=data.etc / "cni" / "net.d",
    )
    configuration = data.etc / "containerd" / "config.toml"
    write(configuration, text, 0o644)
    (data.etc / "cni" / "net.d").mkdir(parents=True, exist_ok=True)
    CONTAINERD_SOCKET.parent.mkdir(parents=True, exist_ok=True)
    children.start("containerd", programs.program("containerd", "containerd"), "--config", str(configuration))
    children.wait("containerd", lambda: _ctr("version"))
    for archive in sorted(data.images.glob("*")):
        if archive.name.endswith(_ARCHIVES):
            _import(archive, options.text("snapshotter"))


def name_image(short: str) -> str:
    """As Docker's client completes a name."""
    first = short.partition("/")[0]
    return short if "." in first or ":" in first else f"docker.io/{short}"


def may_lower_oom_score() -> bool:
    """CAP_SYS_RESOURCE (24) is in effect."""
    status = Path("/proc/self/status").read_text()
    effective = next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> 24 & 1)


def _import(archive: Path, snapshotter: str) -> None:
    log.info(f"Importing images from {archive}")
    if not _ctr("images", "import", "--local", "--snapshotter", snapshotter, str(archive)):
        log.error(f"Failed to import images from {archive}")


def _ctr(*arguments: str) -> bool:
    argv = [
        programs.program("containerd", "ctr"),
        "--address",
        str(CONTAINERD_SOCKET),
        "--namespace",
        "k8s.io",
        *arguments,
    ]
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0
