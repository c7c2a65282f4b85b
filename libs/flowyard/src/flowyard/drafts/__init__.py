"""Workflows that a model writes: finds them in its replies, checks them and runs their tests, without any effect."""
