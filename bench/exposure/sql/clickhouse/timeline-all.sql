-- Class sets are few, so bits are taken apart after counting by set.
SELECT hour, arrayJoin(bitPositionsToArray(classes)) AS class, sum(subjects) AS subjects
FROM (
    SELECT hour, classes, count() AS subjects
    FROM (
        SELECT toUInt32(intDiv(time, 3600000000)) AS hour, subject, groupBitOr(classes) AS classes
        FROM access
        WHERE time >= {from} AND time < {to}
        GROUP BY hour, subject
    )
    GROUP BY hour, classes
)
GROUP BY hour, class
