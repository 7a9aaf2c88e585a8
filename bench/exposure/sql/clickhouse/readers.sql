SELECT DISTINCT integration FROM access WHERE bitAnd(classes, {mask}) != 0
