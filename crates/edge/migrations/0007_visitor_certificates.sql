-- Schema 7. Certificates that visitors are shown, ordered by ACME. The key is sealed; the chain is what anybody is shown.
-- `directory` is whose it is; another authority's is replaced. `claimant` orders one until `claimed`; nobody else does.

CREATE TABLE visitor_certificates (
    name      TEXT    NOT NULL PRIMARY KEY,
    chain     TEXT,
    sealed    BLOB,
    directory TEXT,
    issued    INTEGER,
    expires   INTEGER,
    failures  INTEGER NOT NULL DEFAULT 0,
    next      INTEGER NOT NULL DEFAULT 0,
    error     TEXT,
    claimant  BLOB,
    claimed   INTEGER NOT NULL DEFAULT 0
) STRICT;
