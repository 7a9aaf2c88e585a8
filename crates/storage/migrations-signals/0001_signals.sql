-- What detectors found, and what is still to be told to somebody. Four column types only, as in the registry's 0001.

CREATE TABLE signals (
    number       BIGINT PRIMARY KEY NOT NULL, -- counts up, never used again
    at           BIGINT NOT NULL, -- of the last of them
    count        BIGINT NOT NULL, -- equal ones that came together
    rule         TEXT NOT NULL,
    sentence     TEXT NOT NULL,
    evidence     TEXT NOT NULL, -- JSON object
    calls_for    TEXT NOT NULL, -- JSON array of sentences
    contained    TEXT NOT NULL, -- JSON array of sentences
    shadow       BIGINT NOT NULL CHECK (shadow IN (0, 1)),
    pages        BIGINT NOT NULL CHECK (pages IN (0, 1)), -- whether a person is to look
    contains     BIGINT NOT NULL CHECK (contains IN (0, 1)), -- whether it calls for more than a person
    acknowledged BIGINT,
    by           TEXT
);

-- Messages that their receivers have yet to take.
CREATE TABLE deliveries (
    id          TEXT PRIMARY KEY NOT NULL, -- the idempotency key: the same at each attempt
    destination TEXT NOT NULL,
    body        TEXT NOT NULL,
    made        BIGINT NOT NULL,
    due         BIGINT NOT NULL,
    attempts    BIGINT NOT NULL,
    problem     TEXT NOT NULL -- of the last attempt
);
CREATE INDEX deliveries_by_destination ON deliveries (destination, made);

-- What was contained when vendors were last told: the difference to posture is what they are to hear.
CREATE TABLE told (
    target TEXT PRIMARY KEY NOT NULL,
    state  TEXT NOT NULL
);

-- The number after the last signal's, the first that no page told of, and how many messages were dropped because too many waited.
CREATE TABLE counters (
    name  TEXT PRIMARY KEY NOT NULL,
    value BIGINT NOT NULL
);
INSERT INTO counters (name, value) VALUES ('next', 1), ('page_from', 1), ('dropped', 0);

-- What became of each rule's signals, over all time.
CREATE TABLE rules (
    rule       TEXT PRIMARY KEY NOT NULL,
    signals    BIGINT NOT NULL,
    contained  BIGINT NOT NULL,
    would_have BIGINT NOT NULL, -- contained, were it not in shadow
    reversed   BIGINT NOT NULL -- containments that people lifted
);
