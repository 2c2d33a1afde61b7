-- Schema 4. Passkeys, and invitations of people whom no provider knows.

CREATE TABLE passkeys (
    id         BLOB    NOT NULL PRIMARY KEY,
    person     BLOB    NOT NULL,
    label      TEXT    NOT NULL,
    credential TEXT    NOT NULL,
    created    INTEGER NOT NULL,
    used       INTEGER
) STRICT;
CREATE INDEX passkeys_by_person ON passkeys (person);

CREATE TABLE invitations (
    key     BLOB    NOT NULL PRIMARY KEY,
    person  BLOB    NOT NULL,
    subject TEXT    NOT NULL,
    email   TEXT    NOT NULL,
    name    TEXT,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT;
CREATE INDEX invitations_by_email ON invitations (email);
