"""Flow logs: who an app spoke with, by which rule, how much; for networks that ask for them.

The kernel's connection table tells of connections and their counters, the firewall table's log statements of drops and of DNS
answers; both by netlink. ``tracker`` makes records of them (pure), ``service`` owns the sockets and the rhythm, the records leave by
the observations board.
"""
