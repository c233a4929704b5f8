"""A virtual machine with Debian's stock kernel over this machine's own files, for what the kernel of a test machine may lack.

The guest sees the host's whole file system read-only, with a layer of its own on top, so programs, packages and the checkout are at
the same paths as here; what it writes is gone with it, except below the results folder. See :mod:`eaves.testing.guest.machine`.
"""
