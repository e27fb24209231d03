"""What a checkpoint is made of, where it lies and how it is verified."""
