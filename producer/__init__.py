"""Commands for people: list, plan, publish, wait, verify, view."""

from runtime.interpreter import explain_missing_packages

explain_missing_packages()
