"""Where an app's things are on the node's disk, and how its resolver files are kept. Blocking: call from a thread."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from eaves.kit import files
from eaves.node.instance import Instance
from eaves.node.workloads.logs import current_log, remove_logs


class AppFiles(Struct, frozen=True):
    """``folder`` for inputs and record, ``logs`` for what the app writes."""

    folder: Path
    logs: Path

    @property
    def record(self) -> Path:
        return self.folder / "record.json"

    @property
    def log_position(self) -> Path:
        return self.folder / "log.json"

    @property
    def log(self) -> Path:
        """Where the app's workload must write."""
        return current_log(self.logs)

    def make(self) -> None:
        files.want_folder(self.folder)
        files.want_folder(self.logs)

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        remove_logs(self.logs)

    def write_in_place(self, texts: Mapping[str, str]) -> None:
        """Write files that a running container mounts: the files themselves, hence no rename."""
        for name, text in texts.items():
            path = self.folder / name
            raw = text.encode()
            if files.load_file(path) != raw:
                with path.open("r+b" if path.exists() else "wb") as file:
                    file.write(raw)
                    file.truncate()
                path.chmod(0o644)


def find_app_files(instance: Instance, app_id: str) -> AppFiles:
    return AppFiles(instance.apps_dir / app_id, instance.logs_dir / app_id)
