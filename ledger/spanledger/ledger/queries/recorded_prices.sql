SELECT DISTINCT price_id FROM spanledger.price_records
