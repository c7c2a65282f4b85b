"""What an installation gives to its tools: clients that are open, and the values of settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from flowyard.tools.folders import NO_FOLDERS, Folders

if TYPE_CHECKING:
    from flowyard.outbound.client import OutboundClient


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolServices:
    """What is None or empty isn't set up: a tool that needs it fails when it is called, and names the setting.

    `http`: for requests to addresses that documents and models choose. `folders`: in which files are read and written.
    """

    http: OutboundClient | None = None
    folders: Folders = NO_FOLDERS


NO_SERVICES: Final = ToolServices()
