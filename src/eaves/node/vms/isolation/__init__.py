"""Containers with a kernel of their own: the image's root and the volumes are shared by 9p with a small guest that runs the command.

The kernel and its modules are those of a Debian kernel package on the node; the initrd is busybox with a script.
"""
