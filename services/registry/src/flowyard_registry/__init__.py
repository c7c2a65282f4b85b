"""The catalogue of Flowyard: workflows, their revisions, and agents. The door is `main`."""
