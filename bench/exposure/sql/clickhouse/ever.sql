SELECT count() AS read FROM (SELECT 1 FROM access WHERE bitAnd(classes, {mask}) != 0 LIMIT 1)
