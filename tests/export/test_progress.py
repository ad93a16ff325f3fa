"""Long work shows a bar on a terminal and says nothing elsewhere."""

import io

from rich.console import Console
from spar_export import progress


def test_counted_things_show_on_a_terminal_only(monkeypatch):
    for terminal in (True, False):
        said = io.StringIO()
        monkeypatch.setattr(
            progress, "Console", lambda terminal=terminal, said=said, **_: Console(file=said, force_terminal=terminal)
        )
        with progress.counted("tensors") as advance:
            advance(3, 12)
            advance(12, 12)
        assert ("12/12" in said.getvalue()) == terminal
