SELECT subject, groupBitOr(classes) AS classes
FROM access
WHERE time >= {from} AND time < {to} AND {networks}
GROUP BY subject
