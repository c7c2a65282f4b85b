"""Types, templates and expressions. Knows texts and values, but not documents."""
