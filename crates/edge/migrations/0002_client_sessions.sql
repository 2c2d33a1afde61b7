-- Schema 2. Sessions of the access client beside those of browsers.

ALTER TABLE sessions ADD COLUMN kind TEXT NOT NULL DEFAULT 'browser';
ALTER TABLE sessions ADD COLUMN device TEXT;
