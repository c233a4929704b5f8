"""Rapid spanning tree (IEEE 802.1D-2004, clause 17) for switches of several ports, as a process of its own for each.

The protocol is pure: ``model`` holds a bridge's variables, ``machines`` the state machines by chapter, ``protocol`` what can happen to a
bridge and what it then does, ``bpdu`` the messages. ``main`` is the process, ``kernel`` its way to the ports. Debian packages no daemon
for this, and the kernel's own spanning tree is the one of 1998.

The process outlives the daemon, as a machine's monitor does, so it imports the standard library alone.
"""

from __future__ import annotations
