"""The YAML language: text in, a checked Workflow or a list of problems out. Pure. The door is `load`."""
