"""The commands people type: scan, plan, publish, wait, verify, view."""
