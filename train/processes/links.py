"""Connections between the processes of a run, each of them to process 0.

They lie beside all that JAX does. A process that dies closes its connection
however it dies, and of a machine that has gone the kernel finds out. So a
survivor learns at once who it was, and ends, whatever it waits for. The
messages:

  hello    who comes, and how many processes it counts
  start    everybody is there: who they are, and where JAX's service is
  value    of `share`, by process 0
  tell     of `gather`, to process 0
  end      all have to end with this line and exit code
  bye      what the sender does from now on is its own affair
"""

import contextlib
import dataclasses
import os
import selectors
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

from tqdm import tqdm

from configs.command import EXIT_USER_ERROR
from configs.errors import UserError
from train.processes import wire

EXIT_PEER_DIED = 3
PATIENCE = 3  # seconds for what should take none
End = Callable[[str, int], Any]


@dataclasses.dataclass(frozen=True)
class Peer:
  """One process.

  Attributes:
    host: name of its machine.
    cores: of that machine.
  """

  host: str
  cores: int


@dataclasses.dataclass(frozen=True)
class Met:
  """What a process knows once all are there.

  Attributes:
    peers: all of them, by index.
    service: host and port of JAX's coordination service.
  """

  peers: list[Peer]
  service: tuple[str, int]


def end_process(line: str, code: int) -> NoReturn:
  """Prints one line and ends the process, whatever its threads wait for."""
  with contextlib.suppress(OSError, ValueError):
    sys.stdout.flush()
    # Takes progress bars away; they do not come back.
    with tqdm.external_write_mode(file=sys.stderr):
      print(f'error: {line}', file=sys.stderr, flush=True)
      os._exit(code)
  os._exit(code)


class Member:
  """The link of a process that is not process 0."""

  def __init__(self, count: int, index: int, end: End):
    self._count, self._index, self._end = count, index, _once(end)
    self._values = wire.Queue()
    self._leaving = False

  def meet(self, host: str, port: int, timeout: float) -> Met:
    """Finds process 0, and waits until all are there."""
    deadline = time.monotonic() + timeout + PATIENCE
    where = wire.joined(host, port)
    try:
      self._line = wire.Line(wire.reach(host, port, timeout))
    except OSError as error:
      raise UserError(
        f'--distributed: process {self._index} found nobody at {where} within '
        f'{timeout:.0f} s ({error.strerror or error}); start process 0 there'
      ) from error
    own = dataclasses.asdict(this_process())
    self._line.send({'hello': own, 'index': self._index, 'count': self._count})
    start = self._await_start(deadline)
    if start is None:
      raise UserError(
        f'--distributed: process 0 at {where} ended before all processes were '
        'there; see what it says, and start all of them again'
      )
    if 'end' in start:
      self._line.close()
      raise UserError(start['end'])
    peers = [Peer(**peer) for peer in start['start']]
    self._died = _died(0, self._count, peers[0].host)
    threading.Thread(target=self._watch, daemon=True).start()
    return Met(peers, (host, start['service']))

  def share(self, value: Any) -> Any:
    del value  # that of process 0 counts
    return self._values.take()

  def gather(self, value: Any) -> list[Any]:
    self._line.send({'tell': value})
    return []

  def fail(self, line: str, code: int) -> None:
    self._line.send({'end': line, 'code': code})
    # It comes back from process 0, if that is still there.
    threading.Timer(PATIENCE, self._end, (line, code)).start()

  def leave(self) -> None:
    self._leaving = True
    self._line.send({'bye': self._index})

  def _await_start(self, deadline: float) -> Any:
    """The first message of process 0; None if there is none in time."""
    while self._line.open and time.monotonic() < deadline:
      for message in self._line.receive(max(deadline - time.monotonic(), 0.01)):
        return message
    return None

  def _watch(self) -> None:
    while self._line.open:
      for message in self._line.receive():
        if 'value' in message:
          self._values.put(message['value'])
        elif 'end' in message:
          self._line.close()  # process 0 waits until it is read
          self._end(message['end'], message['code'])
          return
        elif 'bye' in message:
          self._leaving = True
    if not self._leaving:
      self._end(self._died, EXIT_PEER_DIED)


class Hub:
  """The link of process 0, to which all others are connected."""

  def __init__(self, count: int, end: End):
    self._count, self._end = count, _once(end)
    self._peers: dict[int, Peer] = {0: this_process()}
    self._lines: dict[int, wire.Line] = {}
    self._told = {index: wire.Queue() for index in range(1, count)}
    self._left: set[int] = set()
    self._met = wire.Queue()  # of an error, '' for none
    self._started = False
    self._verdict: tuple[str, int] | None = None

  def meet(self, port: int, timeout: float) -> Met:
    """Waits until all others are there."""
    try:
      self._server = wire.listen(port)
    except OSError as error:
      raise UserError(
        f'--distributed: process 0 cannot listen at port {port} '
        f'({error.strerror}); choose another port, or end what is there'
      ) from error
    self._service = wire.free_port()
    limit = time.monotonic() + timeout, timeout
    threading.Thread(target=self._watch, args=limit, daemon=True).start()
    problem = self._met.take()
    if problem:
      raise UserError(problem)
    return Met(self._all_peers(), ('127.0.0.1', self._service))

  def share(self, value: Any) -> Any:
    self._broadcast({'value': value})
    return value

  def gather(self, value: Any) -> list[Any]:
    return [value, *(told.take() for told in self._told.values())]

  def fail(self, line: str, code: int) -> None:
    self._verdict = self._verdict or (line, code)

  def leave(self) -> None:
    self._left |= self._lines.keys()
    self._broadcast({'bye': 0})

  def _all_peers(self) -> list[Peer]:
    return [self._peers[index] for index in range(self._count)]

  def _broadcast(self, message: Any) -> None:
    for line in self._lines.values():
      line.send(message)

  def _watch(self, deadline: float, timeout: float) -> None:
    with selectors.DefaultSelector() as selector, self._server:
      selector.register(self._server, selectors.EVENT_READ)
      while self._verdict is None:
        for key, _ in selector.select(timeout=0.1):
          if key.data is None:
            with contextlib.suppress(OSError):
              line = wire.Line(self._server.accept()[0])
              selector.register(line.socket, selectors.EVENT_READ, line)
          else:
            self._read(key.data)
            if not key.data.open:
              selector.unregister(key.fileobj)
              key.data.close()
        if not self._started and time.monotonic() > deadline:
          self.fail(self._tell_missing(timeout), EXIT_USER_ERROR)
    self._end_all(*self._verdict)

  def _tell_missing(self, timeout: float) -> str:
    missing = [i for i in range(self._count) if i not in self._peers]
    several = ', '.join(map(str, missing[:8])) + ', ...' * (len(missing) > 8)
    return (
      f'--distributed: of {self._count} processes, number {several} did not '
      f'come within {timeout:.0f} s; start all of them with this address'
    )

  def _read(self, line: wire.Line) -> None:
    index = next((i for i, own in self._lines.items() if own is line), None)
    try:
      for message in line.receive():
        if index is None:
          index = self._admit(line, message)
        elif 'tell' in message:
          self._told[index].put(message['tell'])
        elif 'end' in message:
          self.fail(message['end'], message['code'])
        elif 'bye' in message:
          self._left.add(index)
    except (AttributeError, KeyError, TypeError, ValueError):
      line.open = False  # a stranger
    if not line.open and index is not None and index not in self._left:
      host = self._peers[index].host
      self.fail(_died(index, self._count, host), EXIT_PEER_DIED)

  def _admit(self, line: wire.Line, hello: Any) -> int | None:
    """Takes in who comes; the index of it, or None if it is refused."""
    peer, index = Peer(**hello['hello']), int(hello['index'])
    problem = ''
    if hello['count'] != self._count:
      problem = (
        f'--distributed: process 0 counts {self._count} processes, and process '
        f'{index} (host {peer.host}) counts {hello["count"]}'
      )
    elif index in self._peers:
      problem = (
        f'--distributed: process {index} is there twice (hosts '
        f'{self._peers[index].host} and {peer.host})'
      )
    if problem:
      line.send({'end': problem, 'code': EXIT_USER_ERROR})
      line.open = False
      if not self._started:  # else it is a stranger to a run that is at work
        self.fail(problem, EXIT_USER_ERROR)
      return None
    self._peers[index] = peer
    self._lines[index] = line
    if len(self._peers) == self._count:
      peers = [dataclasses.asdict(one) for one in self._all_peers()]
      self._started = True
      self._broadcast({'start': peers, 'service': self._service})
      self._met.put('')
    return index

  def _end_all(self, line: str, code: int) -> None:
    self._broadcast({'end': line, 'code': code})
    # Until they have read it: what is closed before may be lost.
    deadline = time.monotonic() + PATIENCE
    for other in self._lines.values():
      with contextlib.suppress(ValueError):
        while other.open and time.monotonic() < deadline:
          for _ in other.receive(max(deadline - time.monotonic(), 0.01)):
            pass
    if self._started:
      self._end(line, code)
    else:
      self._met.put(line)


def this_process() -> Peer:
  return Peer(socket.gethostname(), os.cpu_count() or 1)


def _once(end: End) -> End:
  """Calls it the first time alone: several threads may find a reason."""
  first = threading.Lock()

  def call(line: str, code: int) -> None:
    if first.acquire(blocking=False):
      end(line, code)

  return call


def _died(index: int, count: int, host: str) -> str:
  return (
    f'process {index} of {count} (host {host}) has died; what was saved before '
    'is whole: the same command resumes'
  )
