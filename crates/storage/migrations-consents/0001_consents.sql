-- What subjects agreed to. Column types as in the registry; times are microseconds since 1970 in UTC.
-- Subjects' ids stand here in clear text: a subject has to see what it agreed to. Erasing a subject removes its rows.

CREATE TABLE consents (
    id             TEXT PRIMARY KEY NOT NULL,
    integration    TEXT NOT NULL,
    grant_id       TEXT NOT NULL,
    subject        TEXT NOT NULL,
    operations     TEXT NOT NULL, -- ids with a space between them
    classes        BLOB NOT NULL, -- bitmap, as in records
    given          BIGINT NOT NULL,
    expires        BIGINT NOT NULL,
    used           BIGINT NOT NULL,
    bound_by       TEXT CHECK (bound_by IN ('key', 'certificate')), -- null until the code was redeemed
    bound_to       BLOB CHECK (bound_to IS NULL OR length(bound_to) = 32),
    refresh        BLOB CHECK (refresh IS NULL OR length(refresh) = 32), -- SHA-256 of the present refresh token
    refresh_before BLOB CHECK (refresh_before IS NULL OR length(refresh_before) = 32),
    refreshed      BIGINT,
    ended          BIGINT,
    ending         TEXT CHECK (ending IN ('subject', 'integration', 'operator', 'reused')),
    CHECK ((bound_by IS NULL) = (refresh IS NULL)),
    CHECK ((ended IS NULL) = (ending IS NULL))
);
CREATE INDEX consents_of_subject ON consents (subject);
CREATE INDEX consents_of_integration ON consents (integration, ended);

-- Access tokens that were given back before they ran out: SHA-256, and when they would have.
CREATE TABLE revoked_tokens (
    token BLOB PRIMARY KEY NOT NULL CHECK (length(token) = 32),
    until BIGINT NOT NULL
);
