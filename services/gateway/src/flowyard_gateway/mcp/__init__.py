"""Workflows as tools of MCP, documents and runs as its resources, prompt nodes as its prompts."""
