-- compat: 1
--
-- Telemetry. Lines lie together by stream and, within it, in the order of their arrival.

CREATE TABLE streams (
    stream INTEGER PRIMARY KEY,
    device_id TEXT NOT NULL,
    -- Empty for the device's own lines.
    app_id TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    UNIQUE (device_id, app_id)
);

CREATE INDEX streams_by_app ON streams (app_id);

CREATE TABLE lines (
    stream INTEGER NOT NULL,
    -- Order of arrival over all streams.
    seq INTEGER NOT NULL,
    time_ns INTEGER NOT NULL,
    severity TEXT NOT NULL,
    source TEXT NOT NULL,
    text TEXT NOT NULL,
    number INTEGER NOT NULL,
    run TEXT NOT NULL,
    PRIMARY KEY (stream, seq)
) WITHOUT ROWID;

-- Tells a line that is sent again.
CREATE UNIQUE INDEX lines_by_time ON lines (stream, time_ns, number);

-- One row for each upload, the unit in which lines are dropped: everything of its stream up to last_seq.
CREATE TABLE batches (
    batch INTEGER PRIMARY KEY,
    stream INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    received_ns INTEGER NOT NULL,
    bytes INTEGER NOT NULL
);

CREATE INDEX batches_by_stream ON batches (stream);

CREATE TABLE runs (
    stream INTEGER NOT NULL,
    run TEXT NOT NULL,
    first_seq INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    first_ns INTEGER NOT NULL,
    PRIMARY KEY (stream, run)
) WITHOUT ROWID;

CREATE TABLE records (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    device_id TEXT NOT NULL,
    time_ns INTEGER NOT NULL,
    received_ns INTEGER NOT NULL,
    payload BLOB NOT NULL
);

-- The id is the last column of this index by itself.
CREATE INDEX records_by_device ON records (device_id, kind);
