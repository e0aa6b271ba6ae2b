SELECT number, name FROM spanledger.schema_migrations FINAL ORDER BY number
