"""Durable state of the controller: objects with watchable versions, and telemetry in bounded tables.

``abc`` holds the interface, ``sqlite`` the engine; the controller's api, gateway and reconcilers are the callers. The store
knows neither Kubernetes nor EVE: it keeps bytes under keys, in commit order.
"""
