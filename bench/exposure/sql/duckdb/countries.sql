SELECT country, count(*)::UINTEGER AS subjects
FROM (
    SELECT DISTINCT subject, country
    FROM access
    WHERE integration IN ({integrations}) AND time >= {from} AND time < {to}
)
GROUP BY country
