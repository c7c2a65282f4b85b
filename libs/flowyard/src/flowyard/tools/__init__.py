"""What a node may call besides models: tools, one per file. The doors are `tool.py`, which says what a tool is, and
`registry.py`, which has all of them. It knows no service and no storage.
"""
