"""Several processes as one run: who is there, and what they agree on."""
