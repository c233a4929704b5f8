"""A stand-in for the ``k3s`` command: K3s's outer contract around the real programs of Kubernetes.

K3s is one program in which Kubernetes, containerd and etcd run. Where it cannot be had, this keeps what its documentation says of its
command line, configuration, data directory, tokens, ports and files (https://docs.k3s.io), and starts upstream Kubernetes, containerd,
runc and etcd or kine as children. ``docs/reference/k3s-stand-in.md`` says what it does not show. ``eaves.testing.k3s`` installs it as one
executable file.
"""
