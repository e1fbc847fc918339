"""The worker process: leases messages, supervises the executor, settles deliveries."""
