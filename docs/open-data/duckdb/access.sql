-- Run this first. DIRECTORY is where `portcullis export parquet` writes.
SET TimeZone = 'UTC';
CREATE OR REPLACE VIEW access AS
SELECT * FROM read_parquet('DIRECTORY/day=*/integration=*/*.parquet', hive_partitioning = true, hive_types = {'day': DATE, 'integration': VARCHAR});
