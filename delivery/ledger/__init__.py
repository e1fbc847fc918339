"""The truth about a run, as plain objects beside the volume: plan, receipts, failures."""
