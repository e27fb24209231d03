"""The one exception for a mistake that the user can mend."""


class UserError(Exception):
  """A user's mistake: one line that names the cause and the cure.

  Commands print the message alone, without a traceback, and exit with 2.
  """
