-- Who was read by one integration in a window: which classes, when first and last, in how many records.
-- SET VARIABLE integration = 'int_...';
-- SET VARIABLE since = TIMESTAMPTZ '2026-03-01 00:00:00+00';
-- SET VARIABLE until = TIMESTAMPTZ '2026-03-02 00:00:00+00';
SELECT pseudonym,
       list_sort(list_distinct(flatten(list(classes)))) AS classes,
       min(time) AS first, max(time) AS last, count(*) AS count
FROM access
WHERE outcome = 'released' AND pseudonym IS NOT NULL
  AND integration = getvariable('integration')
  AND time >= getvariable('since') AND time < getvariable('until')
  AND day BETWEEN CAST(getvariable('since') AS DATE) AND CAST(getvariable('until') AS DATE)
GROUP BY pseudonym
ORDER BY pseudonym;
