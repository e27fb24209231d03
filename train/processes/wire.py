"""Lines of JSON over TCP, between processes that may die at any time."""

import collections
import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

_SILENCE = 30  # seconds after which the kernel gives up a machine
_MOST = 2**26  # bytes of a message


class Queue:
  """Values from one thread to another, in order."""

  def __init__(self) -> None:
    self._values: collections.deque[Any] = collections.deque()
    self._there = threading.Condition()

  def put(self, value: Any) -> None:
    """Adds a value."""
    with self._there:
      self._values.append(value)
      self._there.notify()

  def take(self) -> Any:
    """Waits for the next value."""
    with self._there:
      self._there.wait_for(lambda: bool(self._values))
      return self._values.popleft()


class Line:
  """A connection.

  Attributes:
    socket: that is connected.
    open: until the other side has closed it, or is found dead.
  """

  def __init__(self, connected: socket.socket):
    self.socket = connected
    self.open = True
    self._received = b''
    self._sending = threading.Lock()
    _notice_silence(connected)

  def send(self, message: Any) -> None:
    """Sends a JSON value; that it cannot arrive shows when one receives."""
    content = json.dumps(message).encode() + b'\n'
    with self._sending, contextlib.suppress(OSError):
      self.socket.sendall(content)

  def receive(self, timeout: float | None = None) -> Iterator[Any]:
    """The values that come together next; waits for some.

    None come where the connection has ended, or after `timeout` seconds.

    Raises:
      ValueError: what came is no JSON, or too long.
    """
    self.socket.settimeout(timeout)
    try:
      content = self.socket.recv(2**20)
      self.open = bool(content)
    except TimeoutError:
      return
    except OSError:
      content, self.open = b'', False
    *lines, self._received = (self._received + content).split(b'\n')
    if len(self._received) > _MOST:
      raise ValueError('a message without an end')
    for line in lines:
      yield json.loads(line)

  def close(self) -> None:
    """Ends the connection."""
    self.open = False
    shut(self.socket)


def listen(port: int) -> socket.socket:
  """Takes connections at a port of this machine; 0 takes any that is free.

  Raises:
    OSError: the port is taken.
  """
  if socket.has_dualstack_ipv6():
    return socket.create_server(
      ('', port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=4096
    )
  return socket.create_server(('', port), backlog=4096)


def reach(host: str, port: int, timeout: float) -> socket.socket:
  """Connects; tries again for `timeout` seconds while nobody listens there.

  Raises:
    OSError: it could not, in that time.
  """
  deadline = time.monotonic() + timeout
  while True:
    left = max(deadline - time.monotonic(), 0.01)
    try:
      connected = socket.create_connection((host, port), timeout=left)
      connected.settimeout(None)
      return connected
    except OSError:
      if time.monotonic() + 0.2 > deadline:
        raise
      time.sleep(0.2)


def shut(connected: socket.socket) -> None:
  """Ends a connection, also for a thread that waits for what comes."""
  with contextlib.suppress(OSError):
    connected.shutdown(socket.SHUT_RDWR)
  connected.close()


def free_port() -> int:
  """A port at which nobody listens."""
  with listen(0) as server:
    return server.getsockname()[1]


def joined(host: str, port: int) -> str:
  """An address as one text."""
  return f'[{host}]:{port}' if ':' in host else f'{host}:{port}'


def _notice_silence(connected: socket.socket) -> None:
  """Has the kernel ask the other machine now and then if it is still there.

  It answers for a process that is busy, or stopped.
  """
  connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
  connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
  for name, value in (
    ('TCP_KEEPIDLE', _SILENCE // 3),
    ('TCP_KEEPINTVL', _SILENCE // 6),
    ('TCP_KEEPCNT', 4),
    ('TCP_USER_TIMEOUT', 1000 * _SILENCE),
  ):
    if hasattr(socket, name):  # not on every system
      connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
