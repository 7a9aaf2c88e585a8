-- Dynamic registration. Four column types only, as in 0001. Both are what a vendor may ask with, not what it may do: rows go when they
-- are used up or replaced, and the log keeps what was asked.

-- What an operator gave a vendor to register with, once.
CREATE TABLE registration_tickets (
    integration TEXT PRIMARY KEY NOT NULL REFERENCES integrations (id),
    ticket      BLOB NOT NULL UNIQUE CHECK (length(ticket) = 32), -- its SHA-256
    until       BIGINT NOT NULL
);

CREATE TABLE registrations (
    integration TEXT PRIMARY KEY NOT NULL REFERENCES integrations (id),
    access      BLOB NOT NULL UNIQUE CHECK (length(access) = 32), -- SHA-256 of the present registration access token
    pending     TEXT NOT NULL, -- client metadata that waits for two operators, as JSON
    asked       BIGINT NOT NULL
);
