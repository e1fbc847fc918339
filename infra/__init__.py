"""Cloud resources as data: made, compared and removed by `python -m infra`."""
