"""The device API v2 as data: what controller, node and simulator say to each other, byte for byte.

``proto`` holds the messages and ``pb`` the code made from them; ``envelope``, ``certificates`` and ``cipher`` hold the cryptography
around them, ``newlog`` the log files, ``timers`` the settings both sides agree on, ``paths`` and ``identifiers`` the names.
Pure: no file, socket or clock is touched here; moments and randomness are passed in or come from the caller's keys.
"""
