SELECT subject, groupBitOr(classes) AS classes
FROM access_by_network
WHERE time >= {from} AND time < {to} AND {networks}
GROUP BY subject
