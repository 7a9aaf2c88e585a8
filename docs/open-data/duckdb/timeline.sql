-- By hour: how many records were released, and how many times somebody was in one.
-- since and until as in who.sql
SELECT time_bucket(INTERVAL 1 HOUR, time) AS hour,
       count(DISTINCT (log, record)) AS records,
       count(pseudonym) AS touches
FROM access
WHERE outcome = 'released'
  AND time >= getvariable('since') AND time < getvariable('until')
  AND day BETWEEN CAST(getvariable('since') AS DATE) AND CAST(getvariable('until') AS DATE)
GROUP BY hour
ORDER BY hour;
