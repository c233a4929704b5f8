"""K3s's monitor: the process that starts it, keeps what it writes, and notes how it ended.

As a virtual machine's monitor (:mod:`eaves.node.vms.monitor`, whose parts it uses) it stays when the daemon goes, so pods and API go on and
the end of K3s is known whenever the daemon comes back. It imports the standard library alone.

In the run folder: ``start.json`` says what to do, ``state.json`` which processes run, ``end.json`` how K3s ended. SIGUSR1 = open the log
anew.
"""

from __future__ import annotations

LOCK = "lock"
"""File in the run folder that the monitor holds a lock on while it lives, so that a cluster never has two."""
