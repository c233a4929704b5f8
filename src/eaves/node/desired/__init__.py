"""Desired state of this node as frozen structs, parsed from the device config; pure.

``model`` holds the structs, ``parse`` is the only code on this side that reads config protobuf.
"""
