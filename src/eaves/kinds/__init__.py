"""The operator API kinds: one file a kind, each giving a :class:`eaves.kube.resource.Resource`."""
