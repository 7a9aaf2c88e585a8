-- Of whom a class of data was read, its children included. No row: nobody's, in what the files cover.
-- SET VARIABLE class = 'user.contact';
-- since and until as in who.sql
WITH read AS (
    SELECT pseudonym, time,
           list_filter(classes, lambda name: name = getvariable('class') OR starts_with(name, getvariable('class') || '.')) AS classes
    FROM access
    WHERE outcome = 'released' AND pseudonym IS NOT NULL
      AND time >= getvariable('since') AND time < getvariable('until')
      AND day BETWEEN CAST(getvariable('since') AS DATE) AND CAST(getvariable('until') AS DATE)
)
SELECT pseudonym,
       list_sort(list_distinct(flatten(list(classes)))) AS classes,
       min(time) AS first, max(time) AS last, count(*) AS count
FROM read
WHERE len(classes) > 0
GROUP BY pseudonym
ORDER BY pseudonym;
