"""What people and programs see of documents and runs: progress, tables, JSON, SARIF, diagrams."""
