"""Text → a tree with places → the document's shape. Knows YAML and the keys, not what they mean. Door: `shape`."""
