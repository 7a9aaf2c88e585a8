-- The window is one bucket of one integration, whose subjects are distinct already.
SELECT subject, classes FROM {table} WHERE integration = {integrations} AND bucket = {bucket}
