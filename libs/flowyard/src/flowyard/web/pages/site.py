"""Where the pages of a service are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """`root`: the path under which all pages are, such as `/chat`; empty: the service has only pages.

    `home`: the page after a login. `ways`: from a page that shows an error, address and title of others.
    """

    root: str = ""
    home: str = "/"
    ways: Sequence[tuple[str, str]]

    @property
    def login(self) -> str:
        return f"{self.root}/login"

    @property
    def logout(self) -> str:
        return f"{self.root}/logout"

    @property
    def assets(self) -> str:
        """What the addresses of assets begin with."""
        return f"{self.root}/static/"

    def covers(self, path: str) -> bool:
        """Whether it is the path of a page, or of what a page needs."""
        return not self.root or path == self.root or path.startswith(f"{self.root}/")
