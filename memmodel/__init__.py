"""Memory and cost model: estimates of a shard's work, tiers, fitted coefficients."""

from runtime.interpreter import explain_missing_packages

explain_missing_packages()
