"""Fuzzing and sanitizers: kernels and readers fed bytes that are not what they claim to be."""
