-- Who was read from one network, by anybody. An IPv4 network a.b.c.d/n is a range of ::ffff:a.b.c.d: below, 203.0.113.0/24.
-- SET VARIABLE lowest  = from_hex('00000000000000000000ffffcb007100');
-- SET VARIABLE highest = from_hex('00000000000000000000ffffcb0071ff');
-- since and until as in who.sql
SELECT pseudonym,
       list_sort(list_distinct(flatten(list(classes)))) AS classes,
       min(time) AS first, max(time) AS last, count(*) AS count
FROM access
WHERE outcome = 'released' AND pseudonym IS NOT NULL
  AND network_bytes BETWEEN getvariable('lowest') AND getvariable('highest')
  AND time >= getvariable('since') AND time < getvariable('until')
  AND day BETWEEN CAST(getvariable('since') AS DATE) AND CAST(getvariable('until') AS DATE)
GROUP BY pseudonym
ORDER BY pseudonym;
