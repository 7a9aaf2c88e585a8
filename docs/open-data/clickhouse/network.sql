-- Who was read from one network, by anybody. An IPv4 network a.b.c.d/n is a range of ::ffff:a.b.c.d: below, 203.0.113.0/24.
-- SET param_lowest = '00000000000000000000ffffcb007100';
-- SET param_highest = '00000000000000000000ffffcb0071ff';
-- since and until as in who.sql
SELECT pseudonym,
       arraySort(groupUniqArrayArray(classes)) AS classes,
       min(time) AS first, max(time) AS last, count() AS count
FROM access
WHERE outcome = 'released' AND pseudonym IS NOT NULL
  AND network_bytes BETWEEN unhex({lowest:String}) AND unhex({highest:String})
  AND time >= {since:DateTime64(6, 'UTC')} AND time < {until:DateTime64(6, 'UTC')}
  AND day BETWEEN toDate({since:DateTime64(6, 'UTC')}) AND toDate({until:DateTime64(6, 'UTC')})
GROUP BY pseudonym
ORDER BY pseudonym;
