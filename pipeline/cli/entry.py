"""The first thing that the command `token-analytics` does: from here on Ctrl-C ends it in one sentence.

Does not belong here: anything that takes time to import; that is for cli.
"""

from __future__ import annotations

from pipeline.cli import interrupts


def main() -> None:
    """Entry point."""
    with interrupts.obeyed():
        from pipeline.cli import commands

        commands.main()


if __name__ == "__main__":
    main()
