"""Training steps, compiled for devices that are not there, and their costs."""
