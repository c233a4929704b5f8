"""Parts that could be libraries of their own: supervision, process runner, settings, retry, files, logging.

Nothing here knows Eaves, Kubernetes or EVE; every other package may import it.
"""
