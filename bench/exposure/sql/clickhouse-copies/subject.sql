SELECT record, time, integration, classes
FROM access_by_subject
WHERE subject = {subject} AND time >= {from} AND time < {to}
