-- How far the cost of bounded calls may lie below and above what is booked for them, by who bills them and by day. A call
-- without an upper limit counts as open; rollups do not tell it from one that has a limit.
SELECT
    {{key}} AS place,
    u.provider AS biller,
    toDate(u.bucket, 'UTC') AS on_day,
    sum(u.cost_usd - u.cost_low_usd) AS below,
    sum(if(u.is_open, 0, u.cost_high_usd - u.cost_usd)) AS above,
    countIf(u.is_open) AS open_calls
FROM {{source}} AS u
WHERE u.cost_status = 'bounded'
GROUP BY place, biller, on_day
ORDER BY place, biller, on_day
