-- Schema 3. A person is who an issuer says it is, not whoever has an address; and what a login method said is kept.

ALTER TABLE people RENAME TO people_by_address;
CREATE TABLE people (
    issuer     TEXT    NOT NULL,
    subject    TEXT    NOT NULL,
    id         BLOB    NOT NULL UNIQUE,
    email      TEXT    NOT NULL,
    method     TEXT    NOT NULL,
    attributes TEXT    NOT NULL,
    created    INTEGER NOT NULL,
    seen       INTEGER NOT NULL,
    source     TEXT,
    PRIMARY KEY (issuer, subject)
) STRICT;
CREATE INDEX people_by_last_login ON people (seen);
INSERT INTO people (issuer, subject, id, email, method, attributes, created, seen)
    SELECT 'mailbox', email, id, email, 'pin', '{}', created, created FROM people_by_address;
DROP TABLE people_by_address;

ALTER TABLE sessions ADD COLUMN attributes TEXT NOT NULL DEFAULT '{}';
ALTER TABLE sessions ADD COLUMN seen INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sessions ADD COLUMN source TEXT;
UPDATE sessions SET seen = unixepoch();

-- What somebody quotes of a page is found again, and so are decisions, which other policies may be tried on.
CREATE INDEX audit_by_reference ON audit (json_extract(record, '$.reference'))
    WHERE json_extract(record, '$.reference') IS NOT NULL;
CREATE INDEX audit_of_decisions ON audit (at) WHERE json_extract(record, '$.decided') IS NOT NULL;
