"""What documents say about values: types, templates, expressions. Knows no document, only texts and values."""
