"""``make demo``: a controller, nodes and a registry on this machine, a container that answers by HTTP, a virtual machine and a cluster.

Only the product's own commands run here, as a user would type them; these modules start and stop them and wait. On a terminal it stays up
until Ctrl-C, elsewhere or with DEMO_ONCE=1 it verifies and ends. Nothing is left behind in either case. ``site`` runs programs and waits;
``apps`` and ``cluster`` are what is shown.
"""
