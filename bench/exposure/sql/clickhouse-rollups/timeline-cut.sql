-- As timeline.sql, and hours that the window's ends cut come from raw rows.
SELECT hour, arrayJoin(bitPositionsToArray(classes)) AS class, sum(subjects) AS subjects
FROM (
    SELECT bucket AS hour, classes, count() AS subjects
    FROM rollup_hour
    WHERE integration = {integrations} AND ({hour})
    GROUP BY hour, classes
    UNION ALL
    SELECT hour, classes, count() AS subjects
    FROM (
        SELECT toUInt32(intDiv(time, 3600000000)) AS hour, subject, groupBitOr(classes) AS classes
        FROM access
        WHERE integration = {integrations} AND ({raw})
        GROUP BY hour, subject
    )
    GROUP BY hour, classes
)
GROUP BY hour, class
