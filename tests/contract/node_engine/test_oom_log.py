"""The kernel's log as the witness of kills for memory."""

from __future__ import annotations

import secrets
from pathlib import Path

from eaves.node.containers.observe import OomLog


def test_kernels_log_is_read_from_the_mark_on() -> None:
    workload = secrets.token_hex(32)
    text = f"oom-kill:constraint=CONSTRAINT_MEMCG,task_memcg=/eaves/a/libpod-{workload},task=sh,pid=9,uid=0"
    Path("/dev/kmsg").write_text(text, encoding="ascii")
    oom_log = OomLog()
    assert oom_log.count(workload) == 0, "of an earlier run"
    Path("/dev/kmsg").write_text(text, encoding="ascii")
    assert oom_log.count(workload) == 1
    oom_log.close()
    assert oom_log.count(workload) == 0
