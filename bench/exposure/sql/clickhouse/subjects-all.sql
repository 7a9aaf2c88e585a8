SELECT subject, groupBitOr(classes) AS classes
FROM access
WHERE time >= {from} AND time < {to}
GROUP BY subject
