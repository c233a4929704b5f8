-- compat: 1
--
-- Devices, the newest info message about each of their things, and what the controller itself remembers.

CREATE TABLE devices (
    device_id TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    cert_der BLOB NOT NULL,
    cert_hash BLOB NOT NULL UNIQUE,
    onboarding_cert_hash BLOB NOT NULL,
    serial TEXT NOT NULL,
    soft_serial TEXT NOT NULL,
    created_ns INTEGER NOT NULL,
    -- MessagePack arrays of bytes.
    certs BLOB NOT NULL,
    keys BLOB NOT NULL,
    token_hash BLOB NOT NULL,
    token_issued_ns INTEGER NOT NULL,
    has_tpm INTEGER NOT NULL
);

CREATE INDEX devices_by_serial ON devices (onboarding_cert_hash, serial, soft_serial);

-- Apart from the devices, so that noting the calls of all of them rewrites a few small pages.
CREATE TABLE device_contacts (
    device_id TEXT PRIMARY KEY,
    seen_ns INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE device_info (
    seq INTEGER PRIMARY KEY,
    device_id TEXT NOT NULL,
    ztype INTEGER NOT NULL,
    object_id TEXT NOT NULL,
    at_ns INTEGER NOT NULL,
    is_pending INTEGER NOT NULL,
    payload BLOB NOT NULL
);

CREATE UNIQUE INDEX device_info_by_thing ON device_info (device_id, ztype, object_id);

CREATE INDEX device_info_pending ON device_info (seq) WHERE is_pending = 1;

CREATE TABLE tokens (
    token_hash BLOB PRIMARY KEY,
    user TEXT NOT NULL,
    -- A JSON array of strings.
    groups TEXT NOT NULL,
    expires_at REAL,
    created_at REAL NOT NULL,
    description TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE settings (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID;
