"""What worker and executor say to each other: commands, events and tasks as JSON lines."""
