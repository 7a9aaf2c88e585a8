-- Branches as in subjects.sql.
SELECT dictGet('country_of', 'country', toUInt64(subject)) AS country, count() AS subjects
FROM (
SELECT DISTINCT subject FROM (
{cover}
)
)
GROUP BY country
