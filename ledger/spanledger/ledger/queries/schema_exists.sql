SELECT count() FROM system.tables WHERE database = 'spanledger' AND name = 'schema_migrations'
