"""Commands of `shardlift` that belong to no other program."""
