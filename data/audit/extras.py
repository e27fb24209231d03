"""Libraries that only an audit needs, by what they are for."""

import importlib
import importlib.util
from types import ModuleType

from configs.errors import UserError

# Import name: distribution.
PACKAGES = {
  'py3langid': 'py3langid',  # languages
  'phonenumbers': 'phonenumberslite',  # telephone numbers
  'stdnum': 'python-stdnum',  # checksums of cards and accounts
  'detect_secrets': 'detect-secrets',  # keys and tokens
  'profanex': 'profanex',  # list of offensive words
}


def load(module: str) -> ModuleType:
  """Imports `module`, which belongs to one of `PACKAGES`.

  Raises:
    UserError: it is not installed.
  """
  try:
    return importlib.import_module(module)
  except ImportError as error:
    raise UserError(_missing(module.partition('.')[0])) from error


def check() -> None:
  """Raises UserError if one of `PACKAGES` is not installed."""
  for name in PACKAGES:
    if importlib.util.find_spec(name) is None:
      raise UserError(_missing(name))


def _missing(name: str) -> str:
  return (
    f'package {PACKAGES[name]} is not installed, and an audit needs it: run '
    '`pip install -e .[audit]`'
  )
