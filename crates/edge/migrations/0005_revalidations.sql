-- Schema 5. By what a login is confirmed later at the provider that vouched for it: a refresh token, sealed.

CREATE TABLE revalidations (
    login     BLOB    NOT NULL PRIMARY KEY,
    method    TEXT    NOT NULL,
    sealed    BLOB    NOT NULL,
    confirmed INTEGER NOT NULL
) STRICT;
