"""Errors that end a command with one readable line instead of a traceback."""

from __future__ import annotations


class CommandError(Exception):
    """The command could not do what was asked. The message is one line that names the thing, the place and the mend."""

    exit_code = 1


class UserError(CommandError):
    """A mistake in options, configuration or surroundings: nothing was started."""

    exit_code = 2
