SELECT count() AS read FROM (SELECT 1 FROM rollup_ever WHERE bitAnd(classes, {mask}) != 0 LIMIT 1)
