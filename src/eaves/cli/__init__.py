"""Commands: ``eaves`` with its subcommands, and the kubectl plugin ``kubectl-eaves``. Thin: each calls one part of the product."""
