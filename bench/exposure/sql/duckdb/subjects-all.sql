SELECT subject, bit_or(classes) AS classes
FROM access
WHERE time >= {from} AND time < {to}
GROUP BY subject
