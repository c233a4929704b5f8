"""K3s clusters: who belongs, who starts, who acts for the cluster, and every change in its order.

``plan`` (in :mod:`.plan`) is pure: the cluster, the nodes, the releases, what members report and the time in, the whole new status and
what to do out. All decisions are kept in the status before any node hears of them, so a crash at any point repeats and never forks.
:mod:`.service` gathers the inputs and writes the outcome; :mod:`.tokens` keeps the join tokens.
"""
