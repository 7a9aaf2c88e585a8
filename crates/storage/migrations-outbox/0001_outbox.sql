-- The outbox. Column types as in the registry: TEXT and BIGINT only; times are microseconds since 1970 in UTC.
-- Addresses and subjects' ids stand here in clear text until the person is erased or the file is removed.

CREATE TABLE letters (
    incident      TEXT NOT NULL,
    subject       TEXT NOT NULL,
    address       TEXT NOT NULL,
    scope_version BIGINT NOT NULL CHECK (scope_version >= 0),
    state         TEXT NOT NULL
        CHECK (state IN ('queued', 'sending', 'accepted', 'refused', 'deferred', 'given_up', 'in_doubt')),
    attempts      BIGINT NOT NULL CHECK (attempts >= 0), -- those that count against the letter
    next_attempt  BIGINT NOT NULL, -- not before this; of no meaning in a final state
    reply         TEXT NOT NULL, -- the last thing the server said, empty before it said anything
    updated       BIGINT NOT NULL,
    PRIMARY KEY (incident, subject)
);

-- What is due, and how many stand in each state, without reading the table.
CREATE INDEX letters_by_state ON letters (incident, state, next_attempt);
CREATE INDEX letters_by_subject ON letters (subject);
