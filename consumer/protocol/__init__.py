"""Protocol between worker and executor: commands, events and tasks as JSON lines."""
