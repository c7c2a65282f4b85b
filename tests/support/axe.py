"""What axe-core finds on a page: what keeps people from using it with a keyboard or a screen reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from support.chromium import Tab

_SCRIPT: Final = Path(__file__).parent / "page_linters" / "node_modules" / "axe-core" / "axe.min.js"


async def barriers(tab: Tab, *, only: str = "") -> list[str]:
    """Serious and critical ones, by rule and element. `only`: one rule, after a look with all of them."""
    if not await tab.run("'axe' in window"):
        # The debugger may run what the page's policy forbids.
        await tab.send("Runtime.evaluate", expression=_SCRIPT.read_text())
    rules = f", runOnly: ['{only}']" if only else ""
    found: Any = await tab.run(f"axe.run(document, {{resultTypes: ['violations']{rules}}}).then(r => r.violations)")
    return [
        f"{rule['id']} ({rule['impact']}): {node['html'][:200]} {node['failureSummary'][:300]}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]
