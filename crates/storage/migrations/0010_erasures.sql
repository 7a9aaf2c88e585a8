-- Erasing subjects. Four column types only, as in 0001.

CREATE TABLE erasures (
    id       TEXT PRIMARY KEY NOT NULL, -- of the command that asked for it
    subject  TEXT, -- until it is erased, or the request is taken back
    operator TEXT NOT NULL REFERENCES operators (id), -- the first who signed
    asked    BIGINT NOT NULL,
    due      BIGINT NOT NULL,
    state    TEXT NOT NULL CHECK (state IN ('pending', 'begun', 'erased', 'cancelled')),
    changed  BIGINT NOT NULL,
    CHECK ((state IN ('pending', 'begun')) = (subject IS NOT NULL))
);
