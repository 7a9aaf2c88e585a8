-- Small granules: a question by subject or network reads a few hundred rows.
CREATE TABLE access_by_subject (
    subject UInt32, time UInt64, integration UInt16, classes UInt16, record UInt32
) ENGINE = MergeTree ORDER BY (subject, time) SETTINGS index_granularity = 1024;
INSERT INTO access_by_subject SELECT subject, time, integration, classes, record FROM access;
OPTIMIZE TABLE access_by_subject FINAL;
CREATE TABLE access_by_network (
    network UInt32, time UInt64, subject UInt32, classes UInt16
) ENGINE = MergeTree ORDER BY (network, time) SETTINGS index_granularity = 1024;
INSERT INTO access_by_network SELECT network, time, subject, classes FROM access;
OPTIMIZE TABLE access_by_network FINAL;
