"""What to run: plain data, every key declared, typed and overridable."""
