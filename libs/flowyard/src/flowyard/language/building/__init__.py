"""Builds a Workflow from a document's shape, and reports what is wrong with its content. Start at `build`."""
