"""What several processes agree on."""

import jax
import numpy as np
from jax.experimental import multihost_utils

_TOLD = 500  # bytes of what a process tells the others


def first_problem(problem: str) -> str:
  """The problem of the first process that has one; '' when none has.

  All processes must call it. A process alone gets back what it gave.
  """
  if jax.process_count() == 1:
    return problem
  told = np.zeros(_TOLD, np.uint8)
  content = problem.encode()[:_TOLD]
  told[: len(content)] = np.frombuffer(content, np.uint8)
  for one in multihost_utils.process_allgather(told):
    text = np.asarray(one).tobytes().rstrip(b'\0').decode(errors='ignore')
    if text:
      return text
  return ''


def wait_for_all(what: str) -> None:
  """Returns when all processes have called it."""
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(what)
