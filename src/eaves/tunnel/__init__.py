"""The part of the tunnel that controller and node share and that does I/O; its protocol is :mod:`eaves.wire.tunnel`."""
