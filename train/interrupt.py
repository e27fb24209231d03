"""Ends work between two steps of it when it is asked to stop."""

import contextlib
import signal
import threading
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

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


class CommonStop:
  """Whether any process is asked to stop: in all of them the same answer.

  The devices find it out, beside each step and in the same order everywhere,
  and it is read one step late, as losses are: nobody waits for it. A process
  alone asks nobody.
  """

  def __init__(self, own: StopRequest, mesh: Mesh):
    """Prepares to ask.

    Args:
      own: of this process.
      mesh: that all processes compute on.
    """
    self._own = own
    self._alone = jax.process_count() == 1
    self._asked: jax.Array | None = None
    self._agreed = False
    if self._alone:
      return
    everywhere = NamedSharding(mesh, PartitionSpec(mesh.axis_names))

    def flags(value: bool) -> jax.Array:
      return jax.make_array_from_callback(
        (mesh.size,), everywhere, lambda index: np.array([value])
      )

    self._answers = flags(False), flags(True)
    self._any = jax.jit(
      jnp.any, out_shardings=NamedSharding(mesh, PartitionSpec())
    )

  def ask(self) -> None:
    """Begins to ask all processes, and takes the answer of the time before."""
    if self._alone:
      return
    before = self._asked
    self._asked = self._any(self._answers[bool(self._own)])
    self._agreed = self._agreed or (before is not None and bool(before))

  def __bool__(self) -> bool:
    return bool(self._own) if self._alone else self._agreed
