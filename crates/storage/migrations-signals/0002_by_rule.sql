-- Each rule's oldest signals go when it has too many.
CREATE INDEX signals_by_rule ON signals (rule, number);
