"""Exceptions that end a command with one line."""

from collections.abc import Iterable


class UserError(Exception):
  """A user's mistake: one line that names the cause and the cure.

  Commands print the message alone, without a traceback, and exit with 2.
  """


def choose(key: str, value: str, known: Iterable[str]) -> None:
  """Raises UserError unless a value is one of those known."""
  known = tuple(known)
  if value not in known:
    raise UserError(f'{key} = {value!r}: choose from {", ".join(known)}')


class Interrupted(KeyboardInterrupt):
  """SIGTERM or Ctrl-C, once there is nothing left to clean up.

  Commands print the message alone, and exit with 128 + `number`.

  Attributes:
    number: of the signal.
  """

  def __init__(self, message: str, number: int):
    super().__init__(message)
    self.number = number
