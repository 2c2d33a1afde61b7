-- Schema 8. The time that has passed for certain, as an edge last saw it: a clock that is set back later does not revive what had
-- expired by then.

CREATE TABLE clock (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    passed INTEGER NOT NULL
) STRICT;
