"""Whatever a device sends, observation answers with statuses that fit their schemas and that settle."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from eaves.controller.compile.identifiers import content_tree_id
from eaves.kinds import app as app_kind
from eaves.testing.objects import make_app, make_edgenode, make_network, make_volume, uid_of
from eaves.testing.observed_objects import ObservedObjects
from eaves.wire.pb.info import info_pb2
from eaves.wire.pb.info.common_pb2 import ErrorInfo
from eaves.wire.pb.info.info_pb2 import ZInfoMsg

NOW = 1795543200

states = st.integers(0, 40)
seconds = st.sampled_from([0, 1, NOW, NOW + 5, 1 << 40, -5])
texts = st.sampled_from(["", "x", "ü\n", "a" * 300])


@st.composite
def messages(draw: st.DrawFn) -> ZInfoMsg:
    message = ZInfoMsg()
    kind = draw(st.sampled_from(["dinfo", "ainfo", "niinfo", "vinfo", "cinfo", "hwinfo", "none"]))
    if kind == "ainfo":
        info = message.ainfo
        info.AppID, info.state, info.AppName = uid_of("App", "web"), draw(states), draw(texts)  # type: ignore[assignment]
        info.appVersion = draw(st.sampled_from(["", "1", "x", "²"]))
        info.eaves.exit_code, info.eaves.reason, info.eaves.restarts = (
            draw(st.integers(-1, 255)),
            draw(texts),
            draw(st.integers(0, 9)),
        )
        for name in ("started_at", "finished_at", "last_finished_at", "next_start_at"):
            getattr(info.eaves, name).seconds = draw(seconds)
        if draw(st.booleans()):
            info.appErr.append(ErrorInfo(description=draw(texts)))
    elif kind == "dinfo":
        info_d = message.dinfo
        info_d.ncpu, info_d.memory, info_d.restartCounter = (
            draw(st.integers(0, 4)),
            draw(st.integers(0, 1 << 40)),
            draw(st.integers(0, 9)),
        )
        info_d.bootTime.seconds = draw(seconds)
        info_d.last_boot_reason = draw(st.integers(0, 300))  # type: ignore[assignment]
        info_d.state = draw(states)  # type: ignore[assignment]
        info_d.eaves.daemon_version = draw(st.sampled_from(["", "0.1.0"]))
        info_d.systemAdapter.currentIndex = draw(st.integers(0, 3))
        info_d.maintenance_mode_reasons.extend(draw(st.lists(st.integers(0, 9), max_size=2)))  # type: ignore[arg-type]
    elif kind == "cinfo":
        info_c = message.cinfo
        info_c.uuid, info_c.state = content_tree_id(app_kind.decode(make_app())), draw(states)  # type: ignore[assignment]
        info_c.displayName, info_c.progressPercentage = draw(texts), draw(st.integers(0, 200))
    elif kind == "vinfo":
        info_v = message.vinfo
        info_v.uuid, info_v.state = uid_of("Volume", "data"), draw(states)  # type: ignore[assignment]
        info_v.resources.curSizeBytes = draw(st.integers(0, 1 << 63))
    elif kind == "niinfo":
        info_n = message.niinfo
        info_n.networkID, info_n.displayname = uid_of("Network", "default"), draw(texts)
        info_n.state = draw(states)  # type: ignore[assignment]
    elif kind == "hwinfo":
        message.hwinfo.kernel_version = draw(texts)
    return message


@settings(max_examples=150)
@given(st.lists(messages(), max_size=6))
def test_any_messages_give_good_statuses_and_the_last_one_again_changes_nothing(sent: list[ZInfoMsg]) -> None:
    objects = ObservedObjects(make_edgenode(), make_app(), make_network(), make_volume())
    for message in sent:
        objects.tell(message, NOW)
        writes = objects.writes
        objects.tell(message, NOW + 1)
        assert objects.writes == writes


def test_kinds_of_content_that_no_object_shows_are_passed_over() -> None:
    objects = ObservedObjects(make_edgenode())
    message = ZInfoMsg(ztype=info_pb2.ZiLocation)
    message.locinfo.latitude = 1.0
    assert objects.tell(message, NOW) == []
