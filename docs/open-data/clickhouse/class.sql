-- Of whom a class of data was read, its children included. No row: nobody's, in what the files cover.
-- SET param_class = 'user.contact';
-- since and until as in who.sql
WITH read AS (
    SELECT pseudonym, time,
           arrayFilter(name -> name = {class:String} OR startsWith(name, concat({class:String}, '.')), classes) AS classes
    FROM access
    WHERE outcome = 'released' AND pseudonym IS NOT NULL
      AND time >= {since:DateTime64(6, 'UTC')} AND time < {until:DateTime64(6, 'UTC')}
      AND day BETWEEN toDate({since:DateTime64(6, 'UTC')}) AND toDate({until:DateTime64(6, 'UTC')})
)
SELECT pseudonym,
       arraySort(groupUniqArrayArray(classes)) AS classes,
       min(time) AS first, max(time) AS last, count() AS count
FROM read
WHERE notEmpty(read.classes)
GROUP BY pseudonym
ORDER BY pseudonym;
