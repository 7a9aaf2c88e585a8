SELECT subject, groupBitOr(classes) AS classes
FROM access
WHERE integration IN ({integrations}) AND time >= {from} AND time < {to}
GROUP BY subject
