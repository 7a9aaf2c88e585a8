-- Run this first. DIRECTORY is where `portcullis export parquet` writes; a server reads it below its `user_files_path`.
CREATE OR REPLACE VIEW access AS
SELECT *, CAST(_path AS String) AS path
FROM file('DIRECTORY/day=*/integration=*/*.parquet', Parquet)
SETTINGS use_hive_partitioning = 1;
