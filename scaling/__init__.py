"""Scores to laws."""
