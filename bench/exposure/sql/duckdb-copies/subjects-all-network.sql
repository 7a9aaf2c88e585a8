SELECT subject, bit_or(classes) AS classes
FROM access_by_network
WHERE time >= {from} AND time < {to} AND {networks}
GROUP BY subject
