"""The page where people talk to workflows. Start at `routes`; what is done with a conversation is in `changes`."""
