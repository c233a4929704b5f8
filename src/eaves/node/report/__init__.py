"""Messages about this node, made of what was observed and never of what was asked.

``facts`` reads the machine; ``device``, ``apps``, ``networks``, ``storage``, ``metrics`` and ``health`` are pure builders of device
messages; ``reporter`` decides when each of them goes out.
"""
