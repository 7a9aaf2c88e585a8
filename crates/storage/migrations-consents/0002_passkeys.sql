-- How subjects sign in to the portal.

CREATE TABLE passkeys (
    credential BLOB PRIMARY KEY NOT NULL, -- its id, as the authenticator chose it
    handle     BLOB NOT NULL CHECK (length(handle) = 16), -- the subject, as authenticators know it: random, one for each subject
    subject    TEXT NOT NULL,
    passkey    TEXT NOT NULL, -- public key and what else webauthn-rs keeps, as JSON
    counter    BIGINT NOT NULL,
    added      BIGINT NOT NULL,
    used       BIGINT
);
CREATE INDEX passkeys_of_subject ON passkeys (subject);

-- SHA-256 of what may be shown once: the ticket in an enrolment link, or a recovery code.
CREATE TABLE enrolments (
    ticket      BLOB PRIMARY KEY NOT NULL CHECK (length(ticket) = 32),
    subject     TEXT NOT NULL,
    is_recovery BIGINT NOT NULL CHECK (is_recovery IN (0, 1)),
    until       BIGINT NOT NULL
);
CREATE INDEX enrolments_of_subject ON enrolments (subject);
