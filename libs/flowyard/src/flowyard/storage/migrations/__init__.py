"""How the schema came to be, one step per file. Run by `flowyard.storage.schema.migrate`."""
