"""Calls models: the only room that imports litellm and xllamacpp. Start at `models`; `calls` has the data types."""
