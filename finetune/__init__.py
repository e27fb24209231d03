"""Checkpoints to task models."""
