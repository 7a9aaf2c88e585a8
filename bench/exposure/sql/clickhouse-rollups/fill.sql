INSERT INTO {table}
SELECT integration, intDiv({time}, {length}) AS into, subject, groupBitOr(classes) AS classes
FROM {source}
WHERE {time} >= {from} AND {time} < {to}
GROUP BY integration, into, subject
