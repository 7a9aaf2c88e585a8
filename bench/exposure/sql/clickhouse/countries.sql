SELECT country, count() AS subjects
FROM (
    SELECT subject, any(country) AS country
    FROM access
    WHERE integration IN ({integrations}) AND time >= {from} AND time < {to}
    GROUP BY subject
)
GROUP BY country
