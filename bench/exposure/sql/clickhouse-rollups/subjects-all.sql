-- Of one `cover-all.sql` for each level that the window needs: whole months, weeks, days, hours, and raw rows at its ends.
SELECT subject, groupBitOr(classes) AS classes
FROM (
{cover}
)
GROUP BY subject
