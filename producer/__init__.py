"""Commands for people: list, plan, publish, wait, verify, view."""
