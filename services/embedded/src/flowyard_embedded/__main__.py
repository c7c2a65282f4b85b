"""`python -m flowyard_embedded`, where the console script isn't on the path."""

from __future__ import annotations

from flowyard_embedded.main import main

main()
