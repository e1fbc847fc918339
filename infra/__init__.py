"""Cloud resources of a queue, compared, created and deleted by `python -m infra`."""

from runtime.interpreter import explain_missing_packages

explain_missing_packages()
