"""The processes of one run: who is there, and what they share."""

import contextlib
import errno
import time
import traceback
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from configs.command import EXIT_INTERRUPTED, EXIT_USER_ERROR
from configs.errors import Interrupted, UserError
from train.processes.links import (
  PATIENCE,
  End,
  Hub,
  Member,
  Met,
  Peer,
  end_process,
  this_process,
)


class Peers:
  """This process alone; `connect` makes one of several.

  Attributes:
    index: of this process.
    peers: all of them, by index.
  """

  def __init__(self, index: int = 0, peers: Sequence[Peer] = ()):
    self.index = index
    self.peers = tuple(peers) or (this_process(),)

  @property
  def count(self) -> int:
    """Number of processes."""
    return len(self.peers)

  @property
  def leads(self) -> bool:
    """Whether this is process 0, which writes what is written once."""
    return self.index == 0

  @property
  def own(self) -> Peer:
    """This process."""
    return self.peers[self.index]

  @property
  def name(self) -> str:
    """Of this process, for people."""
    return f'process {self.index} of {self.count} (host {self.own.host})'

  def share(self, value: Any = None) -> Any:
    """Gives everybody the JSON value that process 0 calls it with.

    The others wait for it.
    """
    return value

  def gather(self, value: Any) -> list[Any]:
    """The JSON values of all processes in process 0, nothing in the others."""
    return [value]

  def meet(self) -> None:
    """Returns when all have come here."""
    self.gather(None)
    self.share()

  @contextlib.contextmanager
  def first(self) -> Iterator[None]:
    """A block that the others enter once process 0 has left it.

    Where process 0 fails in it, everybody does.
    """
    if not self.leads:
      self.share()
    yield
    if self.leads:
      self.share()

  def failing_together(
    self, but: type[Exception] | None = None
  ) -> contextlib.AbstractContextManager[None]:
    """Inside, what fails in one process ends all of them at once.

    Not even what is open is closed first: that may wait for the others. A
    process alone fails as it always does.

    Args:
      but: what is raised in all processes, and ends none.
    """
    del but
    return contextlib.nullcontext()


class Linked(Peers):
  """One of several processes.

  Attributes:
    service: host and port of JAX's coordination service.
  """

  def __init__(self, index: int, met: Met, link: Hub | Member):
    super().__init__(index, met.peers)
    self.service = met.service
    self._link = link

  def share(self, value: Any = None) -> Any:
    return self._link.share(value)

  def gather(self, value: Any) -> list[Any]:
    return self._link.gather(value)

  @contextlib.contextmanager
  def failing_together(
    self, but: type[Exception] | None = None
  ) -> Iterator[None]:
    try:
      yield
    except BaseException as error:
      if but is not None and isinstance(error, but):
        raise
      told = isinstance(error, UserError | KeyboardInterrupt)
      if not told or error.__cause__ is not None:
        # Perhaps it is only what another one's death leads to: that is known
        # within moments, and ends this process.
        time.sleep(PATIENCE)
      self.fail(*self._explain(error))

  def fail(self, line: str, code: int) -> NoReturn:
    """Ends all processes, this one too, with a line and an exit code."""
    self.tell(line, code)
    while True:
      time.sleep(PATIENCE)

  def tell(self, line: str, code: int) -> None:
    """As `fail`, but returns; a thread then ends the process."""
    self._link.fail(line, code)

  def leave(self) -> None:
    """Parts from the others: from now on they may end."""
    self._link.leave()

  def _explain(self, error: BaseException) -> tuple[str, int]:
    """A line and an exit code for what ends this process."""
    match error:
      case UserError():
        return str(error), EXIT_USER_ERROR
      case Interrupted():
        return str(error), 128 + error.number
      case KeyboardInterrupt():
        return (
          f'{self.name} was interrupted; what was saved before is whole: the '
          'same command resumes',
          EXIT_INTERRUPTED,
        )
      case OSError(filename=str()):
        told = f'{error.filename}: {error.strerror}'
        return f'{self.name} failed: {told}', EXIT_USER_ERROR
      case OSError(errno=errno.ENOSPC):
        return (
          f'{self.name}: the disk is full; what was saved before is whole: '
          'free some space and run the same command again',
          EXIT_USER_ERROR,
        )
    traceback.print_exception(error)
    told = ' '.join(f'{type(error).__name__}: {error}'.split())
    return f'{self.name} failed: {told[:300]}', 1


def connect(
  host: str,
  port: int,
  count: int,
  index: int,
  timeout: float,
  end: End = end_process,
) -> Linked:
  """Meets the other processes; returns when all are there.

  Args:
    host: where process 0 is.
    port: at which it listens.
    count: of processes, at least 2.
    index: of this one.
    timeout: seconds to wait for the others.
    end: is called by a thread, with a line and an exit code, when this process
      has to end.

  Raises:
    UserError: process 0 cannot be reached or cannot listen; somebody does not
      come in time or counts otherwise; an index is there twice.
  """
  link: Hub | Member
  if index:
    link = Member(count, index, end)
    met = link.meet(host, port, timeout)
  else:
    link = Hub(count, end)
    met = link.meet(port, timeout)
  return Linked(index, met, link)
