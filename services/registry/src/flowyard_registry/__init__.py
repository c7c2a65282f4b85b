"""The registry: stores workflows and their revisions, and knows the agents. It starts in `main`."""
