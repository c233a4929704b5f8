"""The operator API: HTTP on one side, the machinery of ``kube``, the kinds and the store on the other.

From the outside in: ``app`` is the pipeline every request goes through; ``authentication`` and ``authorization`` are its gates;
``routing`` turns a path into what is asked; ``reading``, ``watching``, ``writing``, ``patching`` and ``deleting`` serve any kind;
``backends`` tells where a kind's objects are (the store, or a view computed from another kind); ``admission`` holds rules that
need other objects. ``bootstrap`` of the controller makes the app by :func:`eaves.controller.api.wiring.make_api`.
"""
