"""The device API v2: what devices call, verified before it is parsed, bounded in size and rate.

``app`` routes; ``verify`` finds out who signed; ``register``, ``attest``, ``config`` and ``ingest`` serve the endpoints; ``notify``
wakes Eaves nodes. An accepted message is in the store before it is acknowledged.
"""
