"""The fleet: worker processes of every tier within one machine's memory and CPUs."""
