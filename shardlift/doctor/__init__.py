"""Checks of this machine, and of the places that a job would use."""
