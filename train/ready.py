"""When what was dispatched to devices has been computed."""

import contextlib
import math
import queue
import threading
from collections.abc import Callable

import jax


class ReadyTime:
  """Watches one array after the other, from a thread that waits for them.

  The thread is a daemon: what is never computed, as the devices of a process
  that has died, keeps no program from ending.
  """

  def __init__(self, now: Callable[[], float]):
    """Takes what tells the time in seconds."""
    self._now = now
    self._watched: queue.SimpleQueue[tuple[int, jax.Array | None]] = (
      queue.SimpleQueue()
    )
    self._asked = 0
    self._found = 0, -math.inf
    threading.Thread(target=self._wait, daemon=True).start()

  def watch(self, array: jax.Array) -> None:
    """From now on `at` is about this array."""
    self._asked += 1
    self._watched.put((self._asked, array))

  def at(self) -> float:
    """When the array was computed; infinity while it is not.

    Minus infinity where there was none.
    """
    number, when = self._found
    return when if number == self._asked else math.inf

  def close(self) -> None:
    """Ends the thread once it has seen all arrays."""
    self._watched.put((0, None))

  def _wait(self) -> None:
    while True:
      number, array = self._watched.get()
      if array is None:
        return
      # A failure is told to who reads the array.
      with contextlib.suppress(Exception):
        array.block_until_ready()
      self._found = number, self._now()
