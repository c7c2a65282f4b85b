"""The document's shape → a Workflow: gives every part its meaning and reports what has none. The door is `build`."""
