"""The executor process: makes one shard at a time, within the memory of its tier."""
