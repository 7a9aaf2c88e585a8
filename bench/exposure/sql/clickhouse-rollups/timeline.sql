-- Subjects are distinct within an hour of one integration.
SELECT hour, arrayJoin(bitPositionsToArray(classes)) AS class, sum(subjects) AS subjects
FROM (
    SELECT bucket AS hour, classes, count() AS subjects
    FROM rollup_hour
    WHERE integration = {integrations} AND ({hour})
    GROUP BY hour, classes
)
GROUP BY hour, class
