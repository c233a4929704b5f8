"""Messages of a device that somebody else controls: statuses stay within bounds and fit their schemas, whatever it fills them with."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from eaves.controller.compile.identifiers import content_tree_id, root_volume_id
from eaves.controller.observe.bounds import STATUS_CHARS, TEXT_CHARS, bound_status, bound_text
from eaves.kinds import app as app_kind
from eaves.testing.objects import make_app, make_edgenode, make_network, make_vm, make_volume
from eaves.testing.observed_objects import ObservedObjects
from eaves.wire.pb.info.info_pb2 import ZInfoMsg

NOW = 1795543200.0
KINDS = [field.name for field in ZInfoMsg.DESCRIPTOR.oneofs_by_name["InfoContent"].fields]
TEXTS = ("", "x", "a\0b", "\x1b]0;x\x07", "\u202eü\n", "9" * 5000, "1e400", "x" * 100_000, "-1", "٣", "10.0.0.1/33")
NUMBERS = {
    FieldDescriptor.CPPTYPE_INT32: (0, 1, -1, 2**31 - 1, -(2**31)),
    FieldDescriptor.CPPTYPE_UINT32: (0, 1, 7, 2**32 - 1),
    FieldDescriptor.CPPTYPE_INT64: (0, 1, -1, 2**63 - 1, -(2**63)),
    FieldDescriptor.CPPTYPE_UINT64: (0, 1, 2**63, 2**64 - 1),
    FieldDescriptor.CPPTYPE_ENUM: (0, 1, 2, 7, 99, -1, 2**31 - 1),
    FieldDescriptor.CPPTYPE_BOOL: (False, True),
    FieldDescriptor.CPPTYPE_DOUBLE: (0.0, float("nan"), float("inf"), -1.5, 1e308),
    FieldDescriptor.CPPTYPE_FLOAT: (0.0, float("nan"), float("inf"), -1.5),
}


class Filler:
    """Fills messages with extremes. ``ids`` are put into fields that look like one, so that the message is about something."""

    def __init__(self, seed: int, ids: Sequence[str]) -> None:
        self._chance = random.Random(seed)
        self._ids = ids

    def fill(self, message: Message, depth: int = 0) -> None:
        message.SetInParent()
        for field in message.DESCRIPTOR.fields:
            if depth < 6 and self._chance.random() > 0.35:
                self._fill(message, field, depth)

    def _fill(self, message: Message, field: Any, depth: int) -> None:
        value: Any = getattr(message, field.name)
        if not field.is_repeated:
            if field.message_type is not None:
                self.fill(value, depth + 1)
            else:
                setattr(message, field.name, self._choose(field))
            return
        for _ in range(self._chance.randrange(4)):
            if field.message_type is None:
                value.append(self._choose(field))
            elif not field.message_type.GetOptions().map_entry:
                self.fill(value.add(), depth + 1)
            else:
                self._put(value, field)

    def _put(self, value: Any, field: Any) -> None:
        entry = field.message_type.fields_by_name
        key = self._choose(entry["key"])
        if entry["value"].message_type is not None:
            self.fill(value[key], 5)
        else:
            value[key] = self._choose(entry["value"])

    def _choose(self, field: Any) -> Any:
        if field.cpp_type != FieldDescriptor.CPPTYPE_STRING:
            return self._chance.choice(NUMBERS[field.cpp_type])
        if field.type == FieldDescriptor.TYPE_BYTES:
            return self._chance.choice((b"", b"\xff\0" * 10))
        looks_like_id = "id" in field.name.lower() and self._chance.random() < 0.5
        return self._chance.choice(self._ids if looks_like_id else TEXTS)


@pytest.mark.parametrize("kind", KINDS)
def test_extremes_in_every_field_give_statuses_that_fit_and_stay_small(kind: str) -> None:
    for seed in range(60):
        app = make_vm() if seed % 2 else make_app()
        others = (app, make_network(), make_volume())
        objects = ObservedObjects(make_edgenode(), *others)
        decoded = app_kind.decode(app)
        ids = [*(obj["metadata"]["uid"] for obj in others), content_tree_id(decoded), root_volume_id(decoded)]
        filler = Filler(seed, ids)
        for number in range(2):
            message = ZInfoMsg()
            filler.fill(getattr(message, kind))
            # Statuses are held against their schemas as they are taken on.
            objects.tell(ZInfoMsg.FromString(message.SerializeToString()), NOW + number)
        for obj in (objects.edgenode, *others):
            assert len(msgspec.json.encode(obj)) < 2 * STATUS_CHARS
        assert all(len(note.message) <= TEXT_CHARS for note in objects.events)


def test_texts_lose_what_a_terminal_would_obey_and_keep_the_rest() -> None:
    assert bound_text("café – 東京\tline\nnext") == "café – 東京\tline\nnext"
    assert bound_text("a\0\x1b[2J\u202eb") == "a\ufffd\ufffd[2J\ufffdb"
    assert bound_text("x" * 10, 5) == "xxxx…"


def test_a_bounded_status_is_not_bounded_further() -> None:
    status = {"texts": ["y" * 100_000] * 600, "map": {f"k{number}": "\0" for number in range(1000)}, "number": 5}
    once = bound_status(status)
    assert bound_status(once) == once
    assert once["number"] == 5
    assert len(msgspec.json.encode(once)) < 2 * STATUS_CHARS
