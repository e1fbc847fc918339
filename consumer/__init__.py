"""Workers: they lease a shard's message, have it made by a work process, and keep the ledger."""
