SELECT DISTINCT integration FROM access WHERE (classes & {mask}) != 0
