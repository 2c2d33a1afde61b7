-- Schema 6. A session knows who vouched for it. Of those that there are it is not known: they count no more, and people
-- log in anew.

ALTER TABLE sessions ADD COLUMN issuer TEXT NOT NULL DEFAULT '';
