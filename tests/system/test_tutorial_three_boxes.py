"""``docs/tutorial/three-boxes.md``, line by line: what a reader types is run, with the names of this machine's boxes and K3s."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from eaves.testing.daemons import run_program, wait_for
from eaves.testing.k3s import Release
from eaves.testing.k3s_stage import READY_LIMIT_S, ClusterStage
from eaves.testing.kubectl import find_kubectl
from eaves.testing.system import EAVES, ControllerHost

pytestmark = [pytest.mark.xdist_group("k3s"), pytest.mark.timeout(3600), pytest.mark.soak]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorial" / "three-boxes.md"
LIMIT_S = 1800.0
BOXES = ("shop-17-a", "shop-17-b", "shop-17-c")


@pytest.fixture
def stage(folder: Path, own_controller: ControllerHost, releases: list[Release]) -> Iterator[ClusterStage]:
    own_controller.start()
    with ClusterStage(folder, own_controller, releases) as found:
        yield found


class Reader:
    """Types what a section says and keeps what came of it."""

    def __init__(self, stage: ClusterStage, folder: Path, release: Release) -> None:
        self.boxes = [stage.add_node() for _ in BOXES]
        self._controller = stage.controller
        text = PAGE.read_text().replace("v1.34.2+k3s1", release.version)
        for name, box in zip(BOXES, self.boxes, strict=True):
            text = text.replace(name, box.name)
        self._sections = re.split(r"^## \d\. ", text, flags=re.MULTILINE)
        self._folder = folder
        self.seen: dict[str, str] = {}

    def read(self, number: int, *, until: str = "", since: str = "") -> None:
        """Run the console lines of a section; ``until`` and ``since`` are words between two blocks."""
        text = self._sections[number]
        text = text.partition(until)[0] if until else text
        text = text.partition(since)[2] if since else text
        for language, block in re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            if language == "yaml" and "K3sCluster" in block:
                (self._folder / "shop-17.yaml").write_text(block)
                assert yaml.safe_load(block)["kind"] == "K3sCluster"
            if language == "console":
                for line in block.splitlines():
                    self.seen[line.strip()] = self._type(line)

    def _type(self, line: str) -> str:
        words = shlex.split(line.replace("shop-17.yaml", str(self._folder / "shop-17.yaml")))
        if words[0] == "sudo":
            return self._type_at_a_box(words[1:])
        assert words[0] == "kubectl", line
        if words[1] == "eaves":
            # Where the release's checksums are read from the public net is shown by unit/cli/test_k3s_release.py.
            return "" if words[2] == "k3s-release" else self._controller.eaves_kubectl(*words[2:])
        done = self._controller.kubectl.run(*words[1:], timeout_s=LIMIT_S)
        assert done.code == 0, f"{line}\n{done.out}{done.err}\n" + "\n".join(
            box.explain()[-3000:] for box in self.boxes
        )
        return done.out

    def _type_at_a_box(self, words: list[str]) -> str:
        box = self.boxes[0]
        words = [str(self._folder / word) if word.endswith(".kubeconfig") else word for word in words]
        argv = [find_kubectl(), *words[1:]] if words[0] == "kubectl" else [EAVES, *words[1:]]
        config = ["--config", str(box.settings_file)] if words[0] == "eaves" else []
        return run_program([*box.machine.prefix, *argv, *config], environment=box.environment)


def test_the_tutorial_works_as_it_is_written(stage: ClusterStage, releases: list[Release], tmp_path: Path) -> None:
    reader = Reader(stage, tmp_path, releases[0])
    reader.read(1)
    stage.want_releases("default")
    reader.read(2)
    reader.read(3)
    wide = reader.seen["kubectl get k3scluster shop-17 -o wide"]
    assert "3/3" in wide
    described = reader.seen["kubectl describe k3scluster shop-17"]
    assert all(word in described for word in ("FirstServerElected", "ClusterCreated", "MemberJoined"))
    wait_for(
        "the add-on",
        lambda: "AllReady" in str(stage.get("shop-17", "default")["status"]["conditions"]),
        READY_LIMIT_S,
        reader.boxes[0].explain,
    )
    reader.read(4)
    nodes = reader.seen["kubectl --context shop-17 get nodes -L eaves.dev/site,eaves.dev/edgenode"]
    assert len([line for line in nodes.splitlines() if "shop-17" in line]) == 3
    assert "hello from the shop" in str(reader.seen)

    reader.boxes[2].cut_power()
    reader.read(5, until="Plug it in again")
    reader.boxes[2].start()
    reader.read(5, since="Plug it in again")
    stage.controller.daemon.stop()
    reader.read(6)
    assert all(box.name in reader.seen["sudo kubectl --kubeconfig ./shop.kubeconfig get nodes"] for box in reader.boxes)
    stage.controller.start()
    reader.read(7)
    reader.read(8)
    assert [trace for box in reader.boxes for trace in stage.list_traces(box)] == []
