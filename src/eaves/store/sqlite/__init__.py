"""The SQLite engine of the store: one machine, no server, nothing to administer.

``database`` opens the file, ``migrating`` brings it to the current schema, ``writer`` commits in groups. On these stand
``objects`` (the object store), ``devices`` (the registry and the inbox), ``credentials`` and ``telemetry`` (a file of its own).
Only this package imports sqlite3.
"""
