"""A virtual machine's monitor: the process that starts QEMU, waits for its end, and keeps its serial line.

What conmon is for a container: it stays when the daemon goes, so the end of a machine and all it wrote are known whenever the daemon
comes back. Every machine has one, so it imports a few modules of the standard library and nothing else: about 10 MB, half of them
shared with the daemon.

In the run folder: ``start.json`` says what to do (written by the daemon), ``state.json`` which processes run, ``end.json`` how the machine
ended. The serial line goes, in the log format of Kubernetes, to the log that ``start.json`` names, and to every client of
``console.sock``, each of which first gets the last of what was written before. SIGUSR1 = open the log anew.

A guest cannot fill the disk or the memory by writing: who does not read fast enough is cut off, and a log that nobody takes away is cut
into segments of which the oldest go (:mod:`eaves.node.workloads.logs` knows both).
"""

from __future__ import annotations

ADOPT = "--adopt"
"""Take over a machine that runs, of which the former monitor died."""
LOCK = "lock"
"""File in the run folder that the monitor holds a lock on while it lives, so that a machine never has two."""
