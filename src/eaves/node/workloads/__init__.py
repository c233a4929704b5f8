"""Apps of any kind: each one kept as desired by the engine of its kind (:class:`~eaves.node.workloads.abc.WorkloadEngine`)."""
