-- One row per subject that an integration read in a bucket, with the OR of its classes. `fill.sql` fills each level once per window.
CREATE TABLE rollup_hour (integration UInt16, bucket UInt32, subject UInt32, classes UInt16)
ENGINE = MergeTree ORDER BY (integration, bucket, subject);
CREATE TABLE rollup_day AS rollup_hour;
CREATE TABLE rollup_week AS rollup_hour;
CREATE TABLE rollup_month AS rollup_hour;
-- The same over all integrations, for the timeline of all: distinct subjects do not add up over integrations.
CREATE TABLE rollup_hour_all (bucket UInt32, subject UInt32, classes UInt16)
ENGINE = MergeTree ORDER BY (bucket, subject);
-- What each integration ever read.
CREATE TABLE rollup_ever ENGINE = MergeTree ORDER BY integration AS
SELECT integration, groupBitOr(classes) AS classes FROM access GROUP BY integration;
-- Country by a flat dictionary: an array indexed by the subject's ordinal.
CREATE TABLE subjects (subject UInt32, country UInt8) ENGINE = MergeTree ORDER BY subject;
INSERT INTO subjects SELECT * FROM file('{peers}/subjects.parquet', Parquet);
CREATE OR REPLACE DICTIONARY country_of (subject UInt64, country UInt8) PRIMARY KEY subject
SOURCE(CLICKHOUSE(DB 'exposure' TABLE 'subjects'))
LAYOUT(FLAT(INITIAL_ARRAY_SIZE 1000000 MAX_ARRAY_SIZE 20000000)) LIFETIME(0);
