"""Runs a command-line `main` so that a user's mistake is one clear line."""

import errno
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

import absl.logging
from absl import app, flags

from configs.errors import Interrupted, UserError

OURS = ('data', 'evals', 'finetune', 'model', 'scaling', 'study', 'train')
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130


def run_command(main: Callable[[Sequence[str]], None]) -> NoReturn:
  """Parses the flags, runs `main`, and turns its end into an exit code.

  Args:
    main: takes the arguments that are no flags.

  Exit codes: 0 when `main` returns, 2 for a mistake of the user's (a
  `UserError`, a bad flag, a full disk), 3 where another process of the run has
  died (`train.processes.links`), 130 for a second Ctrl-C, 128 + the
  signal for `Interrupted`. Any other exception is a defect of ours and keeps
  its traceback.
  """
  sys.exit(_exit_code(main))


def no_arguments(argv: Sequence[str]) -> None:
  """Raises UserError where words follow a command that are no flags."""
  if len(argv) > 1:
    raise UserError(f'unexpected: {" ".join(argv[1:])}; write --flag=value')


def _exit_code(main: Callable[[Sequence[str]], None]) -> int:
  try:
    app.run(main, flags_parser=_parse_flags)
  except UserError as error:
    return _complain(str(error))
  except Interrupted as error:
    _complain(str(error))
    return 128 + error.number
  except KeyboardInterrupt:
    _complain(
      'interrupted; what was saved before is whole: the same command resumes'
    )
    return EXIT_INTERRUPTED
  except (
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
  ) as error:
    # A file that is renamed into place has its name second.
    return _complain(f'{error.filename2 or error.filename}: {error.strerror}')
  except Exception as error:
    # Told by the system, or by a library that writes for us, in its own words.
    told = ' '.join(str(error).split())
    if told.startswith('Configuration is not available'):
      return _complain(told)
    if os.strerror(errno.ENOSPC) not in told:
      raise
    return _complain(
      'the disk is full; what was saved before is whole: free some space and '
      f'run the same command again ({told})'
    )
  except SystemExit as end:
    return end.code if isinstance(end.code, int) else int(end.code is not None)
  return 0


def _parse_flags(argv: Sequence[str]) -> list[str]:
  """Parses flags; config_flags tells of a bad key by several exceptions."""
  try:
    rest = flags.FLAGS(list(argv))
  except (AttributeError, KeyError) as error:
    told = str(error.args[0]).strip('"\'').replace('\n', '; ')
    raise UserError(f'the config has no key {told}') from error
  except (flags.Error, OSError, TypeError, ValueError) as error:
    raise UserError(' '.join(str(error).split())) from error
  # Libraries tell of every step they take; ours tell what a user waits for.
  absl.logging.set_verbosity(absl.logging.ERROR)
  for package in OURS:
    logging.getLogger(package).setLevel(logging.INFO)
  return rest


def _complain(message: str) -> int:
  print(f'error: {message}', file=sys.stderr)
  return EXIT_USER_ERROR
