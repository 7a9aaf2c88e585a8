-- By hour: how many records were released, and how many times somebody was in one.
-- since and until as in who.sql
SELECT toStartOfHour(time) AS hour,
       count(DISTINCT log, record) AS records,
       count(pseudonym) AS touches
FROM access
WHERE outcome = 'released'
  AND time >= {since:DateTime64(6, 'UTC')} AND time < {until:DateTime64(6, 'UTC')}
  AND day BETWEEN toDate({since:DateTime64(6, 'UTC')}) AND toDate({until:DateTime64(6, 'UTC')})
GROUP BY hour
ORDER BY hour;
