"""Where a job's lines go: to standard output, in colour on a terminal, plain in a log."""

import logging
import sys

from rich.console import Console
from rich.logging import RichHandler

from teachers.storage import WithoutCredentials

_ROOMS = ("jobs", "teachers", "student", "serve")


class _PlainFormatter(logging.Formatter):
    """The message alone; what is more than information names its level."""

    def format(self, record: logging.LogRecord) -> str:
        message = super().format(record)
        return message if record.levelno <= logging.INFO else f"{record.levelname.lower()}: {message}"


def configure_logging(quiet: bool = False) -> None:
    """Show the lines of our own rooms; warnings and errors only where `quiet`."""
    console = Console()
    handler: logging.Handler
    if console.is_terminal:
        handler = RichHandler(console=console, show_time=False, show_path=False, markup=False)
    else:
        # Rich would wrap and pad lines, which others read and search.
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(_PlainFormatter())

    handler.addFilter(WithoutCredentials())
    for room in _ROOMS:
        logger = logging.getLogger(room)
        logger.handlers = [handler]
        logger.setLevel(logging.WARNING if quiet else logging.INFO)
        logger.propagate = False
