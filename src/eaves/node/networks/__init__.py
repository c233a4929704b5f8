"""Network instances: bridges, app network namespaces, firewall and NAT, DHCP and DNS.

One loop (:mod:`eaves.node.networks.service`) holds the whole network state of the node: desired and remembered state make a
:class:`~eaves.node.networks.model.Layout` (pure), the layout and what is seen on the host make steps (pure), steps are applied.
"""
