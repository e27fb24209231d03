"""Tokens to logits."""
