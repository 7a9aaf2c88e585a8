-- Vetting by evidence, and cases. Four column types only, as in 0001.

-- Two stages more. SQLite changes no CHECK of a table that is there, so the rows move out and back; children are checked when
-- the transaction ends.
PRAGMA defer_foreign_keys = ON;
CREATE TEMPORARY TABLE moved AS
    SELECT id, slug, vendor, tier, stage, stage_before, until FROM integrations;
DROP TABLE integrations;
CREATE TABLE integrations (
    id           TEXT PRIMARY KEY NOT NULL,
    slug         TEXT NOT NULL UNIQUE,
    vendor       TEXT NOT NULL REFERENCES vendors (id),
    tier         BIGINT NOT NULL CHECK (tier BETWEEN 0 AND 3), -- computed from the evidence
    stage        TEXT NOT NULL CHECK (stage IN
        ('applied', 'evidence', 'sandbox', 'approved', 'restricted', 'severed', 'expired', 'retired')),
    stage_before TEXT CHECK (stage_before IN
        ('applied', 'evidence', 'sandbox', 'approved', 'restricted', 'expired')), -- where a restored one returns to
    until        BIGINT, -- of the sandbox or the approval, past or present
    CHECK (stage NOT IN ('sandbox', 'approved', 'restricted') OR until IS NOT NULL),
    CHECK ((stage = 'severed') = (stage_before IS NOT NULL))
);
INSERT INTO integrations (id, slug, vendor, tier, stage, stage_before, until)
    SELECT id, slug, vendor, tier, stage, stage_before, until FROM moved;
DROP TABLE moved;

-- What an integration is vetted by: the latest evidence, and what the checks said of it when they last ran.
CREATE TABLE vetting (
    integration TEXT PRIMARY KEY NOT NULL REFERENCES integrations (id),
    application TEXT NOT NULL, -- `portcullis.application/1`, as submitted
    sbom        BLOB,
    tier        BIGINT NOT NULL CHECK (tier BETWEEN 0 AND 3),
    passed      BIGINT NOT NULL CHECK (passed IN (0, 1)),
    report      TEXT NOT NULL, -- `portcullis.vetting/1`
    contract    BLOB NOT NULL CHECK (length(contract) = 32), -- hash of what it asked for, as the contract was then
    approved    BLOB CHECK (length(approved) = 32), -- the same hash when it was last approved
    reviewers   TEXT NOT NULL, -- who reviewed, ids separated by spaces; empty before
    sandboxed   BIGINT, -- since when it is in the sandbox
    submitted   BIGINT NOT NULL,
    checked     BIGINT NOT NULL
);

-- Re-certifications of everybody. An approval given after `opened` is one of them.
CREATE TABLE campaigns (
    opened BIGINT PRIMARY KEY NOT NULL,
    due    BIGINT NOT NULL,
    reason TEXT NOT NULL
);
CREATE TABLE campaign_integrations (
    campaign    BIGINT NOT NULL REFERENCES campaigns (opened),
    integration TEXT NOT NULL REFERENCES integrations (id),
    approved    BIGINT, -- when it was approved anew
    PRIMARY KEY (campaign, integration)
);

-- Cases. What happened in one stands in its events, in order; everything else is a fold over them.
CREATE TABLE incidents (
    id     TEXT PRIMARY KEY NOT NULL,
    name   TEXT NOT NULL UNIQUE,
    opened BIGINT NOT NULL
);
CREATE TABLE incident_events (
    incident TEXT NOT NULL REFERENCES incidents (id),
    sequence BIGINT NOT NULL CHECK (sequence >= 0),
    event    TEXT NOT NULL, -- `portcullis.case/1`
    PRIMARY KEY (incident, sequence)
);
