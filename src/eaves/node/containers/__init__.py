"""Containers: apps of kind Container, run by podman behind the :class:`~eaves.node.workloads.abc.WorkloadEngine` interface."""
