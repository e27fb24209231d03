"""The whole experiment, in order."""
