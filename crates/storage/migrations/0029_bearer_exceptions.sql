-- Integrations whose tokens need no proof for a while. Four column types only, as in 0001. The log keeps those before the last one.

CREATE TABLE bearer_exceptions (
    integration TEXT PRIMARY KEY NOT NULL REFERENCES integrations (id),
    owner       TEXT NOT NULL,
    reason      TEXT NOT NULL,
    until       BIGINT NOT NULL -- when it ran out, or was ended
);
