INSERT INTO rollup_hour_all
SELECT bucket, subject, groupBitOr(classes) AS classes
FROM rollup_hour
WHERE bucket >= {from} AND bucket < {to}
GROUP BY bucket, subject
