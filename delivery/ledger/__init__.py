"""Ledger of a run: plan, receipts and failure records as plain objects on storage."""
