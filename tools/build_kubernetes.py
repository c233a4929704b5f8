#!/usr/bin/env python3
"""Builds Kubernetes and its companions for the stand-in of K3s, into the cache that all checkouts share.

Does nothing when all is there. Ends with 0 when it is, or with ``--optional`` (as ``make setup`` calls it) also when it could not be made:
then it says what will not be tested and what to do. Needs Go; a cold build takes about ten minutes on two cores.
"""

from __future__ import annotations

import sys

from eaves.testing import kubernetes


def main() -> int:
    try:
        is_optional = "--optional" in sys.argv
        kubernetes.build(lambda line: print(f"kubernetes: {line}", flush=True), is_patient=not is_optional)
    except kubernetes.BuildError as error:
        print(f"kubernetes: {error}", file=sys.stderr)
        if "--optional" not in sys.argv:
            return 1
        missing = ", ".join(module.name for module in kubernetes.list_missing())
        print(f"kubernetes: cluster tests that need {missing} will be reported as not run", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
