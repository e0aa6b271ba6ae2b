-- Partitions that end before a month (YYYYMM) begins, of the tables that retention may empty.
SELECT table, partition, sum(rows)
FROM {{parts}}
WHERE database = 'spanledger' AND active
  AND replaceOne(table, '_local', '') IN {tables:Array(String)}
  AND toUInt32OrZero(substring(partition, 1, 6)) BETWEEN 1 AND {month:UInt32} - 1
GROUP BY table, partition
ORDER BY table, partition
