-- Sorted so that zone maps prune by integration and, within the large ones, by time; types as narrow as the values allow.
CREATE TABLE access AS
SELECT time, integration, credential, operation, network, subject, classes, record, country
FROM read_parquet('{peers}/parquet/*.parquet')
ORDER BY integration, time;
CHECKPOINT;
