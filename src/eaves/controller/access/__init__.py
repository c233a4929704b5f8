"""Who may do what: roles and bindings in memory, the ones that every controller has, and the rule that nobody grants what he has not.

``index`` answers from memory, ``following`` keeps it current, ``escalation`` guards writes of roles and bindings, ``defaults`` are the
first roles and ``wanting`` makes them, ``aggregating`` keeps roles that are made of others. Rules themselves: :mod:`eaves.kube.rbac`.
"""
