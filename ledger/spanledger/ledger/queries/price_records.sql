SELECT provider, model, token_class, rate, per, conditions, valid_from, valid_to, source, source_version
FROM spanledger.prices
WHERE price_id = {price_id:String}
ORDER BY token_class
