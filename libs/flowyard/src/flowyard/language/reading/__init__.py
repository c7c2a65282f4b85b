"""Reads a text into a tree with positions, and the tree into shapes. Knows YAML and all keys, not their meaning.

Start at `shape`.
"""
