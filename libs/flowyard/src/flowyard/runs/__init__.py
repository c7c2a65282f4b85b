"""The life of a run: its events, its summary, and when a failed step is tried again. Pure."""
