-- The registry. Four column types only (TEXT, BIGINT, DOUBLE PRECISION, BLOB), so that the same statements run on
-- PostgreSQL, where BLOB reads BYTEA. Ids are their printed form, times are microseconds since 1970 in UTC, flags 0 or 1.
-- Nothing is deleted: what ends is marked, because records refer to it.

CREATE TABLE registry (
    id            BIGINT PRIMARY KEY CHECK (id = 1),
    revision      BIGINT NOT NULL,
    frozen_reason TEXT -- null unless onboarding is frozen
);
INSERT INTO registry (id, revision, frozen_reason) VALUES (1, 0, NULL);

CREATE TABLE vendors (
    id   TEXT PRIMARY KEY NOT NULL,
    slug TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL
);

CREATE TABLE integrations (
    id           TEXT PRIMARY KEY NOT NULL,
    slug         TEXT NOT NULL UNIQUE,
    vendor       TEXT NOT NULL REFERENCES vendors (id),
    tier         BIGINT NOT NULL CHECK (tier BETWEEN 0 AND 3),
    stage        TEXT NOT NULL
        CHECK (stage IN ('applied', 'approved', 'restricted', 'severed', 'expired', 'retired')),
    stage_before TEXT
        CHECK (stage_before IN ('applied', 'approved', 'restricted', 'expired')), -- where a restored one returns to
    until        BIGINT, -- of the approval, past or present
    CHECK (stage NOT IN ('approved', 'restricted') OR until IS NOT NULL),
    CHECK ((stage = 'severed') = (stage_before IS NOT NULL))
);

CREATE TABLE credentials (
    id          TEXT PRIMARY KEY NOT NULL,
    integration TEXT NOT NULL REFERENCES integrations (id),
    thumbprint  BLOB NOT NULL UNIQUE CHECK (length(thumbprint) = 32), -- one key, one integration, for ever
    jwk         TEXT NOT NULL,
    until       BIGINT NOT NULL,
    retired     BIGINT NOT NULL CHECK (retired IN (0, 1))
);

CREATE TABLE credential_networks (
    credential TEXT NOT NULL REFERENCES credentials (id),
    network    TEXT NOT NULL,
    PRIMARY KEY (credential, network)
);

CREATE TABLE grants (
    id            TEXT PRIMARY KEY NOT NULL,
    integration   TEXT NOT NULL REFERENCES integrations (id),
    purpose       TEXT NOT NULL,
    scope         TEXT NOT NULL CHECK (scope IN ('token_subject', 'consenting', 'attribute', 'all')),
    scope_pointer TEXT,
    scope_value   TEXT,
    burst         BIGINT NOT NULL CHECK (burst >= 0),
    hour          BIGINT NOT NULL CHECK (hour >= 0),
    day           BIGINT NOT NULL CHECK (day >= 0),
    expires       BIGINT NOT NULL,
    withdrawn     BIGINT NOT NULL CHECK (withdrawn IN (0, 1)),
    CHECK ((scope = 'attribute') = (scope_pointer IS NOT NULL AND scope_value IS NOT NULL))
);

CREATE TABLE grant_operations (
    grant_id  TEXT NOT NULL REFERENCES grants (id),
    operation TEXT NOT NULL,
    PRIMARY KEY (grant_id, operation)
);

-- Names, not numbers: a class that a later contract adds below a granted one is granted with it.
CREATE TABLE grant_classes (
    grant_id TEXT NOT NULL REFERENCES grants (id),
    class    TEXT NOT NULL,
    PRIMARY KEY (grant_id, class)
);

CREATE TABLE grant_subjects (
    grant_id TEXT NOT NULL REFERENCES grants (id),
    subject  TEXT NOT NULL,
    PRIMARY KEY (grant_id, subject)
);

CREATE TABLE operators (
    id         TEXT PRIMARY KEY NOT NULL,
    name       TEXT NOT NULL,
    public_key BLOB NOT NULL UNIQUE CHECK (length(public_key) = 32),
    removed    BIGINT NOT NULL CHECK (removed IN (0, 1))
);

-- Numbers stand in every record's bitmap: given in order, never changed, never reused.
CREATE TABLE classes (
    number BIGINT PRIMARY KEY NOT NULL CHECK (number BETWEEN 0 AND 255),
    name   TEXT NOT NULL UNIQUE
);

CREATE TABLE honey_subjects (
    subject TEXT PRIMARY KEY NOT NULL
);

-- Every command that was carried out, as signed. Its id is the guard against replay.
CREATE TABLE commands (
    id       TEXT PRIMARY KEY NOT NULL,
    sequence BIGINT NOT NULL UNIQUE,
    action   TEXT NOT NULL,
    payload  BLOB NOT NULL,
    applied  BIGINT NOT NULL,
    revision BIGINT NOT NULL
);

CREATE TABLE approvals (
    command   TEXT NOT NULL REFERENCES commands (id),
    operator  TEXT NOT NULL REFERENCES operators (id),
    signature BLOB NOT NULL CHECK (length(signature) = 64),
    PRIMARY KEY (command, operator)
);
