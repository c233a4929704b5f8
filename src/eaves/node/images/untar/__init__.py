"""Takes one file out of a layer: ``python -m eaves.node.images.untar LAYER MEMBER TARGET LIMIT``.

A program of its own, so that unpacking gigabytes costs the daemon neither memory nor time. ``MEMBER`` with a slash at its end is the
one regular file in that folder. Exit status 3: the layer has no such file, 4: it has several, 5: larger than LIMIT bytes, 6: unreadable.
"""

from __future__ import annotations

import sys

COMMAND = (sys.executable, "-P", "-m", "eaves.node.images.untar")
MISSING, SEVERAL, TOO_LARGE, UNREADABLE = 3, 4, 5, 6
REASONS = {
    SEVERAL: "a layer holds several such files, and one is needed",
    TOO_LARGE: "the file is too large",
    UNREADABLE: "a layer is no archive that can be read (tar, plain or by gzip)",
}
