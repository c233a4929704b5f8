"""Eaves: an open edge operating platform, managed with kubectl over the EVE device API v2."""
