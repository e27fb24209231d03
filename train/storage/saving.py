"""What goes wrong while Orbax saves in the background, told to all processes.

Each of its threads waits for those of the other processes, for ten minutes and
more where one of them has failed: on a full disk, say. It logs a failure when
it happens.
"""

import contextlib
import errno
import logging
import os
import threading
from collections.abc import Iterator

from configs.command import EXIT_USER_ERROR
from train.processes.links import PATIENCE
from train.processes.peers import Linked, Peers

_MODULES = ('future', 'async_checkpointer')  # of Orbax, that run such threads


@contextlib.contextmanager
def failing_together(peers: Peers) -> Iterator[None]:
  """Inside, a save that fails in one process soon ends all of them.

  A process alone is told by Orbax when it next saves, and waits for nobody.
  """
  if not isinstance(peers, Linked):
    yield
    return
  handler = _Failures(peers)
  logger = logging.getLogger('absl')
  logger.addHandler(handler)
  try:
    yield
  finally:
    logger.removeHandler(handler)


class _Failures(logging.Handler):
  """Tells the others of what is logged."""

  def __init__(self, peers: Linked):
    super().__init__(logging.ERROR)
    self._peers = peers

  def emit(self, record: logging.LogRecord) -> None:
    if record.module not in _MODULES or not record.exc_info:
      return
    error = record.exc_info[1]
    told = ' '.join(f'{type(error).__name__}: {error}'.split())[:200]
    if os.strerror(errno.ENOSPC) in str(error):
      told = os.strerror(errno.ENOSPC)
    line = (
      f'{self._peers.name}: a checkpoint could not be written ({told}); what '
      'was saved before is whole: the same command resumes'
    )
    # Perhaps it is only what another one's death leads to.
    failing = threading.Timer(
      PATIENCE, self._peers.tell, (line, EXIT_USER_ERROR)
    )
    failing.daemon = True
    failing.start()
