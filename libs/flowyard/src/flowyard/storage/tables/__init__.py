"""The schema. Migrations are checked against it.

What grows with every step (`events`, `steps`, `step_parts`) has no foreign key to `runs`: each insert
would lock and rewrite the run's row. They are written under the run's claim, and deleted with the run in one statement.

Users' values are `json` and not `jsonb`, which refuses the characters U+0000 and U+D800 to U+DFFF: a model's reply may
contain them.
"""

from __future__ import annotations

from flowyard.storage.tables import access, chats, runs, triggers
from flowyard.storage.tables.columns import metadata

__all__ = ["access", "chats", "metadata", "runs", "triggers"]
