-- Who was read by one integration in a window: which classes, when first and last, in how many records.
-- SET param_integration = 'int_...';
-- SET param_since = '2026-03-01 00:00:00';
-- SET param_until = '2026-03-02 00:00:00';
SELECT pseudonym,
       arraySort(groupUniqArrayArray(classes)) AS classes,
       min(time) AS first, max(time) AS last, count() AS count
FROM access
WHERE outcome = 'released' AND pseudonym IS NOT NULL
  AND integration = {integration:String}
  AND time >= {since:DateTime64(6, 'UTC')} AND time < {until:DateTime64(6, 'UTC')}
  AND day BETWEEN toDate({since:DateTime64(6, 'UTC')}) AND toDate({until:DateTime64(6, 'UTC')})
GROUP BY pseudonym
ORDER BY pseudonym;
