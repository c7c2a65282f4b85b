"""`python -m flowyard_cli`, where the console script isn't on the path."""

from __future__ import annotations

from flowyard_cli.main import main

main()
