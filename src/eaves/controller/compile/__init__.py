"""From objects to device configs: pure and deterministic.

``compile_node`` (in :mod:`.node`) takes :class:`.model.NodeInputs` and gives :class:`.model.CompiledConfig`: equal
input gives equal bytes. What cannot be sent is left out and told as :class:`.model.Problem`, so that one bad object
never stops another, and no config ever lacks a field without which a device crashes.
"""
