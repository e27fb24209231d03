"""Ends work between two steps of it when it is asked to stop."""

import contextlib
import signal
import threading
from collections.abc import Iterator

from configs.errors import Interrupted


class StopRequest:
  """Becomes true with SIGTERM or the first Ctrl-C."""

  def __init__(self) -> None:
    self.number = 0  # of the signal

  def __bool__(self) -> bool:
    return self.number != 0

  def check(self, message: str) -> None:
    """Raises Interrupted once there is a request."""
    if self:
      raise Interrupted(message, self.number)


@contextlib.contextmanager
def stop_request() -> Iterator[StopRequest]:
  """While inside, SIGTERM and the first Ctrl-C only leave a request.

  A second Ctrl-C raises KeyboardInterrupt at once. Outside the main thread,
  where Python takes no signals, the request stays false.
  """
  request = StopRequest()
  if threading.current_thread() is not threading.main_thread():
    yield request
    return

  def on_signal(number: int, _: object) -> None:
    if number == signal.SIGINT and request:
      raise KeyboardInterrupt
    request.number = number

  signals = (signal.SIGINT, signal.SIGTERM)
  before = [signal.signal(number, on_signal) for number in signals]
  try:
    yield request
  finally:
    for number, handler in zip(signals, before, strict=True):
      signal.signal(number, handler)
