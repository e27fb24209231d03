"""A way to process 0 that stays open when process 0 dies.

JAX's client of the coordination service aborts its process, with a trace of the
stack, as soon as its connection breaks: before anybody can say who has died.
Through a relay it notices nothing for the length of its own heartbeats.
"""

import contextlib
import socket
import threading
from collections.abc import Callable

from train.processes import wire


class Relay:
  """Forwards connections to a port of this process to another machine.

  Attributes:
    address: where it takes them.
  """

  def __init__(
    self,
    host: str,
    port: int,
    timeout: float,
    fail: Callable[[OSError], None],
  ):
    """Begins to take connections.

    Args:
      host: to which they are forwarded.
      port: of that machine.
      timeout: seconds to wait until somebody listens there.
      fail: is called when nobody does.
    """
    self._target = host, port
    self._timeout = timeout
    self._fail = fail
    self._closing = threading.Event()
    self._server = socket.create_server(('127.0.0.1', 0))
    self.address = wire.joined('127.0.0.1', self._server.getsockname()[1])
    threading.Thread(target=self._serve, daemon=True).start()

  def close(self) -> None:
    """From now on, what ends on one side ends on the other."""
    self._closing.set()

  def _serve(self) -> None:
    while True:
      near, _ = self._server.accept()
      threading.Thread(target=self._join, args=(near,), daemon=True).start()

  def _join(self, near: socket.socket) -> None:
    try:
      far = wire.reach(*self._target, self._timeout)
    except OSError as error:
      self._fail(error)
      return
    back = threading.Thread(target=_forward, args=(near, far), daemon=True)
    back.start()
    _forward(far, near)
    self._closing.wait()
    wire.shut(near)
    wire.shut(far)


def _forward(source: socket.socket, target: socket.socket) -> None:
  """Copies bytes until there are no more; closes neither side."""
  with contextlib.suppress(OSError):
    while content := source.recv(2**16):
      target.sendall(content)
