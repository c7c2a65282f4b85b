"""What one step does, a file per kind of node. The door is `step.run_step`; `context` is what a run gives its steps."""
