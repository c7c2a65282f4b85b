"""Claims runs and executes them. The door is `main`; a run's story is in `execute`."""
