"""Eaves: an open edge operating platform, managed with kubectl over the EVE device API v2."""

__version__ = "0.1.0"
"""Written here, not asked of the installed package's metadata, whose reader costs a node 2.5 MB of memory."""
