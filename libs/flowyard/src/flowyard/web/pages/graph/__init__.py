"""Draws a workflow's graph, in layers from top to bottom. Pure."""
