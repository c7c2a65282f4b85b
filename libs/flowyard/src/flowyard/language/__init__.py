"""The YAML language: text in, a checked Workflow or a list of problems out. Pure. The door is `load`.

`reading` knows YAML and the keys, `building` what they mean, `values` the types, templates and expressions in them.
"""
