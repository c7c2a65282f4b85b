"""Reads descriptions of HTTP APIs, OpenAPI 3.0 and 3.1, as tools. Its door is `description.py`. Pure."""
