-- Class sets are few, so bits are taken apart after counting by set.
SELECT hour, bit AS class, sum(subjects)::UINTEGER AS subjects
FROM (
    SELECT hour, classes, count(*) AS subjects
    FROM (
        SELECT (time // 3600000000)::UINTEGER AS hour, subject, bit_or(classes) AS classes
        FROM access
        WHERE time >= {from} AND time < {to}
        GROUP BY ALL
    )
    GROUP BY ALL
), range(16) AS bits(bit)
WHERE (classes >> bit) & 1 = 1
GROUP BY ALL
