-- Where subjects' browsers are sent back to after they agreed.

CREATE TABLE integration_redirects (
    integration TEXT NOT NULL REFERENCES integrations (id),
    uri         TEXT NOT NULL,
    PRIMARY KEY (integration, uri)
);
