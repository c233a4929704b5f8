"""The helper process that downloads: HTTP(S), S3 and OCI registries, digests checked while bytes stream in, resumable.

It runs as ``python -m eaves.node.images.download``, one process a datastore that is being asked, so that the daemon stays small. It
reads requests as JSON lines from standard input and answers on standard output (:mod:`.protocol`); when its input ends, its daemon is
gone and so it ends too. It never imports the daemon's modules. :mod:`eaves.node.images.fetching` is the daemon's side.
"""
