CREATE TABLE access (
    time UInt64, integration UInt16, credential UInt16, operation UInt16, network UInt32,
    subject UInt32, classes UInt16, record UInt32, country UInt8
) ENGINE = MergeTree ORDER BY (integration, time);
INSERT INTO access SELECT * FROM file('{peers}/parquet/*.parquet', Parquet);
OPTIMIZE TABLE access FINAL;
