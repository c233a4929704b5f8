"""The metadata server that apps find at http://169.254.169.254 on Local networks, compatible with EVE's.

One listener a bridge (:mod:`eaves.node.metadata.listener`), bound to the bridge's device and reached by a translation in the
firewall table; who asks is told by bridge and source address alone, which the table keeps from being forged. ``service`` opens and
closes listeners and knows the callers, ``routes`` finds the answer, ``documents`` holds the texts (pure).
"""
