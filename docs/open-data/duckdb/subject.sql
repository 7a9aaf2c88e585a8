-- Everything of one subject that went out in a quarter, record by record. In files with subjects, ask for `subject` and all quarters at once.
-- SET VARIABLE pseudonym = '0123456789abcdef0123456789abcdef';
SELECT time, integration, credential, grant_id, operation, network, classes, log, record
FROM access
WHERE outcome = 'released' AND pseudonym = getvariable('pseudonym')
ORDER BY time, log, record;
