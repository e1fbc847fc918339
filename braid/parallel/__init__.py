"""Threads: a bounded ordered map, work sharing within a task, and counters."""
