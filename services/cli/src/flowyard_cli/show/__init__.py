"""How documents, runs and lists are shown to people and programs: progress, tables, JSON, SARIF, diagrams."""
