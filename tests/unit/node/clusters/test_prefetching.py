"""The version that comes next is brought to its place and tried while the present one runs."""

from __future__ import annotations

from pathlib import Path

from eaves.node.clusters.prefetching import Fetched, Prefetcher, explain_images
from eaves.node.clusters.preparing import Preparer
from eaves.node.desired.cluster_model import DesiredCluster
from eaves.node.desired.secret import Secret
from eaves.node.images.model import DiskImage, Part, PartFormat, PartRole
from eaves.node.images.plan import Pin
from eaves.node.instance import Instance
from eaves.node.observed import Fault, ImageState, ImageStatus, Observations

NEXT = "v1.34.3+k3s1"


def want_cluster(next_version: str = NEXT) -> DesiredCluster:
    return DesiredCluster(
        *("c", "shop", "a", True, "", "10.0.0.1", 24, "10.0.0.1", Secret("t")),
        version="v1.34.2+k3s1",
        binary_image_id="now",
        next_version=next_version,
        next_binary_image_id="next",
        next_bundle_image_ids=("bundle",),
    )


class Stage:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.instance = Instance("test", folder / "state", folder / "run")
        self.instance.prepare()
        self.pins: dict[str, Pin] = {}
        self.observations = Observations()
        preparer = Preparer(self.instance, find_pin=lambda image_id: self.pins.get(image_id), own_binary="", proxies={})
        self.prefetcher = Prefetcher(preparer, lambda ids: explain_images(self.observations, ids))
        self.running = self.place("v1.34.2+k3s1")

    def place(self, version: str) -> Path:
        program = self.instance.k3s_dir / "bin" / version / "k3s"
        program.parent.mkdir(parents=True)
        program.write_text("")
        return program

    def bring(self, image_id: str, text: str = "") -> None:
        path = self.folder / image_id
        path.write_text(text)
        disk = DiskImage((Part(PartRole.ROOT, str(path), PartFormat.RAW, 1),))
        self.pins[image_id] = Pin(0, image_id, f"sha256:{image_id}", disk=disk)

    async def turn(self, cluster: DesiredCluster | None = None) -> Fetched:
        await self.prefetcher.take_turn(cluster or want_cluster(), str(self.running))
        return self.prefetcher.fetched

    def programs(self) -> list[str]:
        return sorted(path.parent.name for path in self.instance.k3s_dir.glob("bin/*/k3s"))


def say(version: str) -> str:
    return f"#!/bin/sh\necho k3s version {version}\n"


async def test_it_counts_as_fetched_when_all_files_are_here_and_the_program_says_its_version(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    assert await stage.turn() == Fetched("", f"waits for k3s {NEXT}")
    stage.bring("next", say(NEXT))
    assert await stage.turn() == Fetched("", "waits for bundle bundle")
    fault = Fault("DownloadFailed", "the datastore answers 503")
    stage.observations.publish(ImageStatus("bundle", "images of k3s", ImageState.FAILED, fault=fault))
    assert await stage.turn() == Fetched("", "images of k3s: the datastore answers 503")
    stage.bring("bundle")
    assert await stage.turn() == Fetched(NEXT)
    assert stage.programs() == ["v1.34.2+k3s1", NEXT]


async def test_a_program_that_does_not_run_or_is_another_is_told_before_anybody_needs_it(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.bring("bundle")
    stage.bring("next", say("v1.33.0+k3s1"))
    assert await stage.turn() == Fetched("", f"the k3s program is v1.33.0+k3s1, the config asks for {NEXT}")
    stage.bring("next", "#!/bin/sh\nexit 1\n")
    assert "does not run on this machine" in (await stage.turn()).message
    stage.bring("next", say(NEXT))
    assert await stage.turn() == Fetched(NEXT)


async def test_a_version_that_is_not_to_come_any_more_leaves_nothing_behind(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.place("v1.33.9+k3s1")
    stage.bring("next", say(NEXT))
    stage.bring("bundle")
    await stage.turn()
    assert await stage.turn(want_cluster("")) == Fetched()
    assert stage.programs() == ["v1.34.2+k3s1"]
    assert stage.running.exists()
