"""Compiled programs, kept for the next start."""

import pathlib

import jax
from jax.experimental.compilation_cache import compilation_cache

from configs.errors import UserError
from configs.files import make_writable


def use(folder: str) -> None:
  """From now on programs are read from a folder, or compiled and written there.

  It holds what JAX's persistent cache makes: a program is found again by its
  HLO, the options of the compiler, the devices and the versions of JAX and of
  the compiler, so that it is the one that would be compiled. What it says is
  trusted: let nobody write there who must not run code as you.

  Args:
    folder: made when missing; also `gs://BUCKET/PATH`. '' changes nothing.

  Raises:
    UserError: it cannot be written to, or is of another scheme.
  """
  if not folder:
    return
  if '://' not in folder:
    path = pathlib.Path(folder).expanduser().absolute()
    make_writable(path, f'train.compile_cache = {folder!r}')
    folder = str(path)
  elif not folder.startswith('gs://'):
    raise UserError(
      f'train.compile_cache = {folder!r}: a folder, or gs://BUCKET/PATH'
    )
  jax.config.update('jax_compilation_cache_dir', folder)
  # Also what compiles in less than JAX's second: a step has such parts.
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
  # Else a process that has compiled something would stay without.
  compilation_cache.reset_cache()
