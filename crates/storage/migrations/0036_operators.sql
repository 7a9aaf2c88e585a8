-- What operators may do, and how they log in to the console. Four column types only, as in 0001.

-- No default: an operator whose role nobody said is refused, not an admin. Those of before could do everything and still can.
ALTER TABLE operators ADD COLUMN role TEXT CHECK (role IN ('viewer', 'responder', 'approver', 'admin'));
UPDATE operators SET role = 'admin';

-- When an automation ends; null for people.
ALTER TABLE operators ADD COLUMN until BIGINT CHECK (until IS NULL OR role IN ('viewer', 'responder'));

CREATE TABLE operator_passkeys (
    credential BLOB PRIMARY KEY NOT NULL, -- its id, as the authenticator chose it
    handle     BLOB NOT NULL CHECK (length(handle) = 16), -- the operator, as authenticators know it: random, one for each operator
    operator   TEXT NOT NULL REFERENCES operators (id),
    passkey    TEXT NOT NULL, -- public key and what else webauthn-rs keeps, as JSON
    counter    BIGINT NOT NULL,
    added      BIGINT NOT NULL,
    used       BIGINT
);
CREATE INDEX operator_passkeys_of ON operator_passkeys (operator);
