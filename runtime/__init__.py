"""How the programs meet the world: settings, errors, logs, the command line and storage."""
