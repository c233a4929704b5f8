"""Messages of exec and attach as Kubernetes clients know them."""

from __future__ import annotations

import json

import pytest

from eaves.wire import channels
from eaves.wire.channels import TerminalSize


def test_the_end_of_a_command_is_a_status_on_the_error_channel() -> None:
    assert channels.encode_exit(0) == b'\x03{"metadata":{},"status":"Success"}'
    failed = channels.encode_exit(7)
    assert failed[0] == 3
    assert json.loads(failed[1:]) == {
        "metadata": {},
        "status": "Failure",
        "message": "command terminated with non-zero exit code: exit status 7",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": "7"}]},
    }
    assert json.loads(channels.encode_failure("no way")[1:]) == {
        "metadata": {},
        "status": "Failure",
        "message": "no way",
        "reason": "InternalError",
        "code": 500,
    }


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (b'{"Width":80,"Height":24}', TerminalSize(80, 24)),
        (b'{"Width":0,"Height":24}', None),
        (b'{"Width":70000,"Height":24}', None),
        (b'{"Width":-1,"Height":24}', None),
        (b'{"Width":80}', None),
        (b"", None),
        (b"\xff", None),
    ],
)
def test_sizes_of_terminals(data: bytes, size: TerminalSize | None) -> None:
    assert channels.parse_size(data) == size


def test_long_messages_are_split_on_their_channel() -> None:
    assert channels.split_message(b"\x00abcdef", 7) == [b"\x00abcdef"]
    assert channels.split_message(b"\x00abcdef", 4) == [b"\x00abc", b"\x00def"]
