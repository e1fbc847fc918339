"""How much memory and money a shard's work needs, and which workers that asks for."""
