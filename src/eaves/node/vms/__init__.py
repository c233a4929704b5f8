"""Virtual machines: apps of kind VirtualMachine, run by QEMU behind the :class:`~eaves.node.workloads.abc.WorkloadEngine` interface.

A machine is two processes that belong to nobody else: QEMU and its monitor (:mod:`eaves.node.vms.monitor`). The daemon speaks to them
through sockets in the machine's run folder and may come and go.
"""
