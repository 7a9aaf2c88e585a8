CREATE TABLE access_by_subject AS
SELECT subject, time, integration, classes, record FROM access ORDER BY subject, time;
CREATE TABLE access_by_network AS
SELECT network, time, subject, classes FROM access ORDER BY network, time;
CHECKPOINT;
