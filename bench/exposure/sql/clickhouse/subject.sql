SELECT record, time, integration, classes
FROM access
WHERE subject = {subject} AND time >= {from} AND time < {to}
