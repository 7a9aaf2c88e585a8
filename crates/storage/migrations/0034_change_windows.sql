-- What was announced, what opened a case by itself, and where vendors want to hear of being contained. Four column types only, as in 0001.

-- Windows in which a change of an integration's habits is expected. Nothing goes by one before `approved`, nor after `ended`.
CREATE TABLE change_windows (
    id          TEXT PRIMARY KEY NOT NULL,
    integration TEXT NOT NULL REFERENCES integrations (id),
    change      TEXT NOT NULL, -- as it was declared, JSON
    begins      BIGINT NOT NULL,
    ends        BIGINT NOT NULL CHECK (ends > begins),
    reason      TEXT NOT NULL,
    approved    BIGINT,
    ended       BIGINT -- before its time
);

-- Cases that a rule opened: which, and about what.
CREATE TABLE case_rules (
    incident TEXT PRIMARY KEY NOT NULL REFERENCES incidents (id),
    rule     TEXT NOT NULL,
    target   TEXT NOT NULL
);
CREATE INDEX case_rules_by_rule ON case_rules (rule, target);

CREATE TABLE vendor_webhooks (
    vendor TEXT PRIMARY KEY NOT NULL REFERENCES vendors (id),
    url    TEXT NOT NULL
);
