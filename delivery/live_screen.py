"""Live screen of a terminal that Ctrl-C does not interrupt half drawn."""

from rich.live import Live

from runtime import interrupts


class LiveScreen(Live):
    """Rich's live screen, each refresh of which is whole before Ctrl-C or SIGTERM comes.

    Rich keeps what it has written until it knows that it was; a refresh that is interrupted between
    the two would be drawn twice, and the cursor be moved by the lines of another screen.
    """

    def refresh(self) -> None:
        """Draw the screen."""
        with interrupts.held():
            super().refresh()

    def stop(self) -> None:
        """Draw the screen for the last time, and leave it."""
        with interrupts.held():
            super().stop()
