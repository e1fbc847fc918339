"""Cloud resources of a queue, compared, created and deleted by `python -m infra`."""
