"""K3s clusters: this node's membership in one.

``spec`` (pure) renders K3s's files from the desired cluster, ``plan`` (pure) decides the next step, ``service`` takes it and looks again.
``program`` brings the binary and image bundles to their places, ``running`` keeps the process with a ``monitor`` that outlives the
daemon, ``addresses`` holds the cluster IP and the virtual API address, ``statusserver`` and ``joining`` speak EVE's status protocol,
``leader`` does what needs the cluster's own API, ``backups`` takes snapshots and ships them, ``leaving`` removes every trace.
"""
