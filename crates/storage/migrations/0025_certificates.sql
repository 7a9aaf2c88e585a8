-- Credentials that are certificates. Four column types only, as in 0001.
--
-- A row is a key (`jwk`, as before), one certificate (`certificate`), or a CA (`certificate`) with a rule for which of its
-- certificates. `jwk` is empty unless it is a key. `thumbprint` names what it is, once for ever: RFC 7638 of the key, SHA-256 of
-- the certificate, or SHA-256 of CA and rule.

ALTER TABLE credentials ADD COLUMN certificate BLOB; -- DER
ALTER TABLE credentials ADD COLUMN rule_kind TEXT
    CHECK (rule_kind IN ('subject_dn', 'san_dns', 'san_uri', 'san_ip', 'san_email'));
ALTER TABLE credentials ADD COLUMN rule_value TEXT
    CHECK ((rule_value IS NULL) = (rule_kind IS NULL) AND (certificate IS NOT NULL OR rule_kind IS NULL));
