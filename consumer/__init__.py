"""Workers: lease messages, have executors make their shards, record results in the ledger."""
