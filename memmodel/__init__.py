"""Memory and cost model: estimates of a shard's work, tiers, fitted coefficients."""
