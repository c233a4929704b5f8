"""Containers: apps of kind Container, run by podman behind the :class:`~eaves.node.containers.abc.WorkloadEngine` interface."""
