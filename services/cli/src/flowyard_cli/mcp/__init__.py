"""`flowyard mcp`: what the gateway serves as MCP, over standard input and output, with tools that manage workflows."""
