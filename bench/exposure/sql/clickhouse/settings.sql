SET max_threads = 2;
SET output_format_arrow_compression_method = 'none';
-- A cache of which granules matched this very condition before: it would measure the repetition, not the question.
SET use_query_condition_cache = 0;
