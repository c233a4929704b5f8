-- compat: 1
--
-- Objects. Each version's bytes are written once, under the revision that it was committed with; small tables without bytes
-- say which version is current and which labels and fields it has.

CREATE TABLE versions (
    revision INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    resource TEXT NOT NULL,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    uid TEXT NOT NULL,
    -- 0: a version of an object. 1: its deletion, with the last state.
    deletion INTEGER NOT NULL,
    -- Revision of the version that this one replaced, 0 for the first.
    previous INTEGER NOT NULL,
    -- JSON objects of strings; empty text for none.
    labels TEXT NOT NULL,
    fields TEXT NOT NULL,
    value BLOB NOT NULL
);

-- The revision is the last column of this index by itself: changes of one resource in commit order.
CREATE INDEX versions_by_resource ON versions (tenant, resource);

CREATE TABLE current (
    tenant TEXT NOT NULL,
    resource TEXT NOT NULL,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (tenant, resource, namespace, name)
) WITHOUT ROWID;

CREATE TABLE selectors (
    tenant TEXT NOT NULL,
    resource TEXT NOT NULL,
    -- 'l' for a label, 'f' for a field.
    kind TEXT NOT NULL,
    term TEXT NOT NULL,
    value TEXT NOT NULL,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (tenant, resource, kind, term, value, namespace, name)
) WITHOUT ROWID;

-- One row: history up to this revision may be gone.
CREATE TABLE compaction (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    revision INTEGER NOT NULL
);

INSERT INTO compaction (id, revision) VALUES (1, 0);
