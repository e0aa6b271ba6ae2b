-- How far the cost of bounded calls may lie below and above what is booked for them. A call without an upper limit counts
-- as open; rollups do not tell it from one that has a limit.
SELECT
    {{key}} AS place,
    sum(u.cost_usd - u.cost_low_usd) AS below,
    sum(if(u.is_open, 0, u.cost_high_usd - u.cost_usd)) AS above,
    countIf(u.is_open) AS open_calls
FROM {{source}} AS u
WHERE u.cost_status = 'bounded'
GROUP BY place
