"""Delivery: messages, brokers, the ledger of a run and its reconciliation."""
