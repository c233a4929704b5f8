"""The machine's devices: what there is (``inventory``), and what of it apps get for themselves (``plan``, ``apply``)."""
