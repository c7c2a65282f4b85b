"""The YAML language: loads a text as a checked Workflow, or returns its problems. Pure. Start at `load`.

`reading` knows YAML and the keys, `building` their meaning, `values` the types, templates and expressions in them.
"""
