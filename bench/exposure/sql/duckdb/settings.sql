SET threads = 2;
SET memory_limit = '8GB';
SET preserve_insertion_order = false;
