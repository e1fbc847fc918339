"""Process environment: settings, errors, logs, command line and storage."""
