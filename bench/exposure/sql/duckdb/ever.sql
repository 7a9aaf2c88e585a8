SELECT EXISTS (SELECT 1 FROM access WHERE (classes & {mask}) != 0)::UINTEGER AS read
