"""How the node talks to its controller: identity, onboarding, attestation, config, and everything that it sends.

``client`` moves bytes, ``calls`` puts signed envelopes around them and picks an uplink; on these stand ``certs``, ``onboarding``,
``attestation``, ``config`` and ``notify``, which follow the device API step by step, and ``queues`` and ``uploads``, which bring
messages and logs to the controller at the pace that it allows. Nothing here knows containers or networks of apps.
"""
