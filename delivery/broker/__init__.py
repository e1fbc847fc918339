"""Queues, one per tier, behind one contract: embedded SQLite or Google Pub/Sub."""
