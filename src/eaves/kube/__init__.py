"""Kubernetes API machinery, free of any kind and of any I/O.

Schema, selectors, tables, patches, server-side apply, discovery and OpenAPI documents as pure functions over decoded JSON. The
controller wires them with HTTP and the store; ``kinds`` gives the values of :class:`eaves.kube.resource.Resource`.
"""
