"""Flowyard's common library: each folder is a room with a docstring that says what it owns."""
