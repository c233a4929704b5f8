"""The agent in a small guest: runs commands there for the node, many at once, over one virtio-serial port.

It is this package and the few modules of the standard library that it imports, run by the node's own Python interpreter, all packed into
the guest's initrd (:mod:`eaves.node.vms.isolation.packing`). Nothing here may import anything else: what it costs, every guest pays.

``frames`` is spoken by both ends; ``agent`` is the loop, ``commands`` what it starts.
"""
