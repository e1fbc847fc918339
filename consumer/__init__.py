"""Workers: lease messages, have executors make their shards, record results in the ledger."""

from runtime.interpreter import explain_missing_packages

explain_missing_packages()
