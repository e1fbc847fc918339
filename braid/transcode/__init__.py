"""From DVID blocks to the chunk payloads of one output shard."""
