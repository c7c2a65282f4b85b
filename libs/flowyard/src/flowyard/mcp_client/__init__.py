"""Calls tools of MCP servers: programs of the installation, and servers that are reached by HTTP. The door is
`servers.py`. Only this room and the gateway's server know MCP's library, which takes seconds to be imported: here, only
`sessions.py` and what it imports do, when the first server is connected to.
"""
