"""The node daemon: obeys a device config from any EVE controller and runs what it asks for on this machine.

Rings, from outside to inside: ``bootstrap`` wires everything; ``link`` talks to the controller; ``desired`` turns a device config
into frozen structs (:mod:`eaves.node.desired.model`); the managed things (``images``, ``volumes``, ``networks``, and ``workloads`` on
their engines ``containers`` and ``vms``) each go desired → plan → apply → observe; ``report`` turns what was observed
(:mod:`eaves.node.observed`) into device messages.
"""
