-- Parts of one insert stay in one file: dozens of columns in files of their own cost more to write than all else.
ALTER TABLE {{table:observations}} {{on_cluster}} MODIFY SETTING min_bytes_for_wide_part = 67108864;

ALTER TABLE {{table:calls_settled}} {{on_cluster}} MODIFY SETTING min_bytes_for_wide_part = 67108864;

ALTER TABLE {{table:usage_by_minute_settled}} {{on_cluster}} MODIFY SETTING min_bytes_for_wide_part = 67108864;

ALTER TABLE {{table:usage_by_hour_settled}} {{on_cluster}} MODIFY SETTING min_bytes_for_wide_part = 67108864;

ALTER TABLE {{table:usage_by_day_settled}} {{on_cluster}} MODIFY SETTING min_bytes_for_wide_part = 67108864;

-- Calls are kept by minute, and asked for by their start: the index tells which parts and granules a start can be in.
ALTER TABLE {{table:calls_settled}} {{on_cluster}}
    ADD INDEX IF NOT EXISTS started_at_index started_at TYPE minmax GRANULARITY 1;

ALTER TABLE {{table:calls_settled}} {{on_cluster}} MATERIALIZE INDEX started_at_index;
