-- Schema 1. Times are whole seconds since 1970. Secrets are hashes, or sealed by the caller.

CREATE TABLE declared (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    revision INTEGER NOT NULL,
    document TEXT    NOT NULL
) STRICT;

CREATE TABLE people (
    email   TEXT    NOT NULL PRIMARY KEY,
    id      BLOB    NOT NULL UNIQUE,
    created INTEGER NOT NULL
) STRICT;

CREATE TABLE sessions (
    id       BLOB    NOT NULL PRIMARY KEY,
    host     TEXT    NOT NULL,
    parent   BLOB,
    identity TEXT    NOT NULL,
    created  INTEGER NOT NULL,
    expires  INTEGER NOT NULL,
    grants   TEXT    NOT NULL
) STRICT;
CREATE INDEX sessions_by_parent ON sessions (parent);
CREATE INDEX sessions_by_expiry ON sessions (expires);

CREATE TABLE once (
    kind    TEXT    NOT NULL,
    key     BLOB    NOT NULL,
    bind    BLOB    NOT NULL,
    payload BLOB    NOT NULL,
    expires INTEGER NOT NULL,
    PRIMARY KEY (kind, key)
) STRICT;
CREATE INDEX once_by_expiry ON once (expires);

CREATE TABLE pins (
    id      BLOB    NOT NULL PRIMARY KEY,
    login   BLOB    NOT NULL,
    app     BLOB    NOT NULL,
    email   BLOB    NOT NULL,
    code    BLOB,
    tries   INTEGER NOT NULL DEFAULT 0,
    void    INTEGER NOT NULL DEFAULT 0,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT;
CREATE INDEX pins_by_login ON pins (login, app);
CREATE INDEX pins_by_expiry ON pins (expires);

-- Events of rate limits; each is kept for the longest window it counts in.
CREATE TABLE events (
    key     BLOB    NOT NULL,
    at      INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT;
CREATE INDEX events_by_key ON events (key, at);
CREATE INDEX events_by_expiry ON events (expires);

CREATE TABLE mails (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    sealed    BLOB    NOT NULL,
    recipient BLOB    NOT NULL,
    domain    TEXT    NOT NULL,
    queued    INTEGER NOT NULL,
    due       INTEGER NOT NULL,
    expires   INTEGER NOT NULL,
    tries     INTEGER NOT NULL
) STRICT;
CREATE INDEX mails_by_due ON mails (due);

CREATE TABLE mail_log (
    seq    INTEGER PRIMARY KEY AUTOINCREMENT,
    id     INTEGER NOT NULL,
    state  TEXT    NOT NULL,
    at     INTEGER NOT NULL,
    domain TEXT    NOT NULL,
    detail TEXT
) STRICT;
CREATE INDEX mail_log_by_time ON mail_log (at);

CREATE TABLE secrets (
    name   TEXT NOT NULL PRIMARY KEY,
    sealed BLOB NOT NULL
) STRICT;

CREATE TABLE certificates (
    serial      TEXT    NOT NULL PRIMARY KEY,
    holder_kind TEXT    NOT NULL,
    holder      BLOB    NOT NULL,
    issued      INTEGER NOT NULL,
    expires     INTEGER NOT NULL,
    revoked     INTEGER
) STRICT;
CREATE INDEX certificates_by_holder ON certificates (holder_kind, holder);
CREATE INDEX certificates_revoked ON certificates (expires) WHERE revoked IS NOT NULL;

CREATE TABLE operators (
    id          BLOB    NOT NULL PRIMARY KEY,
    machine     TEXT    NOT NULL,
    hostnames   TEXT    NOT NULL,
    approved_by TEXT    NOT NULL,
    approved    INTEGER NOT NULL
) STRICT;

-- The record of what happened. `chain` is a hash over the record and its predecessor's chain, so that a gap shows;
-- `revision` is the revision of the configuration that a change led to.
CREATE TABLE audit (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    at        INTEGER NOT NULL,
    event     TEXT    NOT NULL,
    revision  INTEGER,
    record    TEXT    NOT NULL,
    chain     BLOB    NOT NULL
) STRICT;
CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit record is append-only'); END;
CREATE TRIGGER audit_is_never_deleted BEFORE DELETE ON audit
BEGIN SELECT RAISE(ABORT, 'the audit record is append-only'); END;
CREATE TRIGGER audit_is_never_replaced BEFORE INSERT ON audit
WHEN EXISTS (SELECT 1 FROM audit WHERE id = NEW.id)
BEGIN SELECT RAISE(ABORT, 'the audit record is append-only'); END;

INSERT INTO declared (id, revision, document) VALUES (1, 0,
    '{"login_methods":[],"groups":[],"policies":[],"applications":[],"tunnels":[],"routes":[],"administrators":[]}');
