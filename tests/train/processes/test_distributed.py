"""Processes that meet, share, part, and tell of each other's death."""

import concurrent.futures
import json
import socket
import threading
import time

import pytest

from configs.errors import UserError
from train.processes import distributed, links, peers, relay, wire

LOCAL = '127.0.0.1'
HELLO = {'hello': {'host': 'a', 'cores': 2}, 'index': 1, 'count': 2}


class End:
  """Takes note of why a process has to end."""

  def __init__(self):
    self._told = []
    self._there = threading.Event()

  def __call__(self, line, code):
    self._told.append((line, code))
    self._there.set()

  def wait(self):
    """The line and the code; fails when there are none within seconds."""
    assert self._there.wait(10)
    assert len(self._told) == 1
    return self._told[0]

  def __bool__(self):
    return self._there.is_set()


def _meet(count, ends=None):
  """Connects `count` processes, which are threads of this one."""
  port = wire.free_port()
  ends = ends or [End() for _ in range(count)]
  with concurrent.futures.ThreadPoolExecutor(count) as pool:
    begun = [
      pool.submit(peers.connect, LOCAL, port, count, index, 20, ends[index])
      for index in range(count)
    ]
    return [one.result() for one in begun], ends, port


def _pretend(port, hello=HELLO):
  """A process that is nothing but a connection."""
  line = wire.Line(wire.reach(LOCAL, port, 10))
  line.send(hello)
  return line


def _hub_and_pretender(end):
  """Process 0 of 2, and the other one's connection."""
  port = wire.free_port()
  with concurrent.futures.ThreadPoolExecutor(1) as pool:
    begun = pool.submit(peers.connect, LOCAL, port, 2, 0, 20, end)
    line = _pretend(port)
    return begun.result(), line, port


def test_all_know_who_is_there():
  (first, second, third), _, _ = _meet(3)
  assert [one.index for one in (first, second, third)] == [0, 1, 2]
  assert {one.count for one in (first, second, third)} == {3}
  assert (first.leads, second.leads) == (True, False)
  assert third.peers[0].host == socket.gethostname()
  # The port is one of the same machine for all of them.
  assert first.service == second.service == third.service


def test_what_process_0_has_goes_to_all_and_what_all_have_to_process_0():
  together, _, _ = _meet(3)
  with concurrent.futures.ThreadPoolExecutor(3) as pool:
    for value in ({'a': [1]}, None, 'x' * 3_000_000):
      shared = pool.map(
        lambda one, v=value: one.share([v, one.index]), together
      )
      assert list(shared) == [[value, 0]] * 3
    told = list(pool.map(lambda one: one.gather(one.index**2), together))
  assert told == [[0, 1, 4], [], []]


def test_process_0_goes_first():
  together, _, _ = _meet(3)
  order = []

  def work(one):
    with one.first():
      if one.leads:
        time.sleep(0.2)
      order.append(one.index)

  with concurrent.futures.ThreadPoolExecutor(3) as pool:
    list(pool.map(work, together))
  assert order[0] == 0
  assert sorted(order) == [0, 1, 2]


def test_all_wait_until_all_have_come():
  together, _, _ = _meet(3)
  came = []

  def work(one):
    time.sleep(0.1 * one.index)
    came.append(one.index)
    one.meet()
    return len(came)

  with concurrent.futures.ThreadPoolExecutor(3) as pool:
    assert list(pool.map(work, together)) == [3, 3, 3]


def test_a_process_alone_shares_with_itself():
  alone = peers.Peers()
  assert alone.leads
  assert alone.count == 1
  assert alone.share(3) == 3
  assert alone.gather(3) == [3]
  with (
    alone.first(),
    pytest.raises(ZeroDivisionError),
    alone.failing_together(),
  ):
    raise ZeroDivisionError


def test_a_connection_that_ends_is_a_death_that_all_are_told_of():
  ends = [End() for _ in range(3)]
  port = wire.free_port()
  with concurrent.futures.ThreadPoolExecutor(2) as pool:
    begun = [
      pool.submit(peers.connect, LOCAL, port, 3, index, 20, ends[index])
      for index in (0, 2)
    ]
    line = _pretend(port, HELLO | {'count': 3})
    for one in begun:
      one.result()
  line.close()
  line = 'process 1 of 3 (host a) has died; what was saved before is whole: '
  for end in (ends[0], ends[2]):
    assert end.wait() == (line + 'the same command resumes', 3)


def test_the_death_of_process_0_is_seen_by_the_others():
  end = End()
  with (
    wire.listen(0) as server,
    concurrent.futures.ThreadPoolExecutor(1) as pool,
  ):
    port = server.getsockname()[1]
    begun = pool.submit(peers.connect, LOCAL, port, 2, 1, 20, end)
    line = wire.Line(server.accept()[0])
    (hello,) = line.receive()
    assert hello['index'] == 1
    one = {'host': 'first', 'cores': 1}
    line.send({'start': [one, one], 'service': 1})
    begun.result()
    assert not end
    line.close()
    told, code = end.wait()
  assert told.startswith('process 0 of 2 (host first) has died')
  assert code == 3


def test_the_kernel_gives_up_a_silent_machine_within_a_minute():
  with wire.listen(0) as server:
    line = wire.Line(wire.reach(LOCAL, server.getsockname()[1], 10))

    def option(name):
      return line.socket.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))

    keep_alive = line.socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert keep_alive
    probes = option('TCP_KEEPCNT') * option('TCP_KEEPINTVL')
    assert option('TCP_KEEPIDLE') + probes <= 40
    assert option('TCP_USER_TIMEOUT') <= 40_000  # milliseconds
    line.close()


def test_who_says_goodbye_has_not_died():
  end = End()
  hub, line, _ = _hub_and_pretender(end)
  line.send({'bye': 1})
  line.close()
  time.sleep(0.5)
  assert not end
  hub.leave()


def test_all_end_with_the_line_of_the_one_that_fails():
  together, ends, _ = _meet(3)
  together[1].tell('the cat is on the keyboard', 7)
  assert [end.wait() for end in ends] == [('the cat is on the keyboard', 7)] * 3


def test_of_two_that_fail_all_tell_the_same():
  together, ends, _ = _meet(2)
  together[0].tell('one', 1)
  together[1].tell('other', 2)
  assert ends[0].wait() == ends[1].wait()


def test_another_count_is_told_to_both():
  end = End()
  with pytest.raises(UserError, match=r'process 0 counts 2 .* counts 4'):
    port = wire.free_port()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
      begun = pool.submit(peers.connect, LOCAL, port, 2, 0, 20, end)
      with pytest.raises(UserError, match=r'process 3 .* counts 4'):
        peers.connect(LOCAL, port, 4, 3, 20, end)
      begun.result()
  assert not end


def test_an_index_that_is_there_twice():
  port = wire.free_port()
  with concurrent.futures.ThreadPoolExecutor(2) as pool:
    begun = [
      pool.submit(peers.connect, LOCAL, port, 3, index, 20) for index in (0, 1)
    ]
    time.sleep(0.5)
    with pytest.raises(UserError, match='process 1 is there twice'):
      peers.connect(LOCAL, port, 3, 1, 20)
    for one in begun:
      with pytest.raises(UserError, match='process 1 is there twice'):
        one.result()


def test_strangers_do_not_harm_a_run():
  end = End()
  hub, line, port = _hub_and_pretender(end)
  for content in (b'GET / HTTP/1.1\r\n\r\n', b'[1]\n', b'{"hello": 3}\n', b''):
    stranger = wire.reach(LOCAL, port, 5)
    stranger.sendall(content)
    stranger.close()
  late = _pretend(port)
  (refused,) = late.receive(10)
  assert 'there twice' in refused['end']
  assert not end
  line.send({'tell': 5})
  assert hub.gather(4) == [4, 5]
  hub.leave()


def test_who_does_not_come_is_named():
  start = time.monotonic()
  with pytest.raises(UserError, match=r'of 3 processes, number 1, 2 did not'):
    peers.connect(LOCAL, wire.free_port(), 3, 0, 0.3)
  assert time.monotonic() - start < 5


def test_nobody_at_the_address():
  port = wire.free_port()
  with pytest.raises(UserError, match=f'found nobody at {LOCAL}:{port} within'):
    peers.connect(LOCAL, port, 2, 1, 0.3)


def test_a_port_that_is_taken():
  with wire.listen(0) as server:
    port = server.getsockname()[1]
    with pytest.raises(UserError, match=f'cannot listen at port {port}'):
      peers.connect(LOCAL, port, 2, 0, 1)


def test_a_line_says_what_came_however_it_was_cut():
  with wire.listen(0) as server:
    near = wire.reach(LOCAL, server.getsockname()[1], 5)
    line = wire.Line(server.accept()[0])
    content = json.dumps({'a': 'é' * 10}).encode() + b'\n'
    near.sendall(content[:7])
    assert list(line.receive()) == []
    near.sendall(content[7:] + b'3\n[')
    assert list(line.receive()) == [{'a': 'é' * 10}, 3]
    assert list(line.receive(0.05)) == []
    assert line.open
    near.close()
    assert list(line.receive()) == []
    assert not line.open


def test_a_relay_hides_the_end_of_the_other_side_until_it_closes():
  failures = []
  with wire.listen(0) as server:
    port = server.getsockname()[1]
    way = relay.Relay(LOCAL, port, 5, failures.append)
    host, own_port = way.address.split(':')
    near = wire.reach(host, int(own_port), 5)
    far, _ = server.accept()
  near.sendall(b'question')
  assert far.recv(100) == b'question'
  far.sendall(b'answer')
  assert near.recv(100) == b'answer'
  far.close()
  near.settimeout(0.5)
  with pytest.raises(TimeoutError):
    near.recv(100)
  way.close()
  near.settimeout(10)
  assert near.recv(100) == b''
  assert not failures


def test_a_relay_tells_that_nobody_is_there():
  end = End()
  way = relay.Relay(LOCAL, wire.free_port(), 0.3, lambda e: end(str(e), 2))
  host, port = way.address.split(':')
  with wire.reach(host, int(port), 5):
    assert 'refused' in end.wait()[0]


@pytest.mark.parametrize(
  ('flag', 'place'),
  [
    ('host-0.pod:8476,4,3', distributed.Place('host-0.pod', 8476, 4, 3)),
    ('[::1]:1,1,0', distributed.Place('::1', 1, 1, 0)),
    ('none', None),
  ],
)
def test_a_flag_says_where(flag, place):
  assert distributed.find_place(flag) == place


@pytest.mark.parametrize(
  ('flag', 'told'),
  [
    ('kubernetes', 'choose from none, auto, tpu, gke, slurm'),
    ('', 'choose from none'),
    ('host,2,0', 'write HOST:PORT,COUNT,INDEX'),
    ('host:1,2', 'write HOST:PORT,COUNT,INDEX'),
    ('host:70000,2,0', 'port 70000 is not in 1 to 65535'),
    ('host:1,2,2', 'INDEX is 0 to 1, not 2'),
    ('host:1,0,0', 'COUNT = 0'),
  ],
)
def test_a_wrong_flag(flag, told):
  with pytest.raises(UserError, match=told):
    distributed.find_place(flag)


SLURM = {
  'SLURM_JOB_ID': '4097',
  'SLURM_STEP_NODELIST': 'node[07-12]',
  'SLURM_NTASKS': '6',
  'SLURM_PROCID': '2',
  'SLURM_LOCALID': '0',
}


def test_slurm_says_where(monkeypatch):
  for name, value in SLURM.items():
    monkeypatch.setenv(name, value)
  for flag in ('slurm', 'auto'):
    place = distributed.find_place(flag)
    assert (place.host, place.count, place.index) == ('node07', 6, 2)
    assert place.port == 65535 - 2**12 + 1 + 4097 % 2**12  # as JAX documents


@pytest.mark.parametrize('flag', ['slurm', 'gke'])
def test_what_an_environment_lacks_is_named(monkeypatch, flag):
  for name in (*SLURM, 'TPU_WORKER_ID', 'TPU_WORKER_HOSTNAMES'):
    monkeypatch.delenv(name, raising=False)
  monkeypatch.setenv('SLURM_JOB_ID', '1')
  monkeypatch.setenv('TPU_WORKER_HOSTNAMES', 'a,b')
  lacks = {
    'slurm': r'SLURM_STEP_NODELIST, .*SLURM_LOCALID are not set; start it by',
    'gke': r'slurm|TPU_WORKER_ID is not set; run it in a pod',
  }
  with pytest.raises(UserError, match=lacks[flag]):
    distributed.find_place(flag)


def test_slices_are_described_whole_or_not_at_all(monkeypatch):
  for name in ('TPU_WORKER_ID', 'TPU_WORKER_HOSTNAMES', 'MEGASCALE_SLICE_ID'):
    monkeypatch.setenv(name, '0')
  with pytest.raises(UserError, match='MEGASCALE_NUM_SLICES are not set'):
    distributed.find_place('gke')


def test_nothing_of_the_kind(monkeypatch):
  for name in SLURM:
    monkeypatch.delenv(name, raising=False)
  monkeypatch.setenv('TPU_SKIP_MDS_QUERY', '1')  # no metadata server
  for flag in ('auto', 'tpu'):
    with pytest.raises(UserError, match=f'--distributed={flag}: there is no'):
      distributed.find_place(flag)


def test_a_process_alone_needs_no_others():
  for flag in ('none', f'{LOCAL}:1,1,0'):
    with distributed.joined(flag) as alone:
      assert alone.count == 1
  assert links.EXIT_PEER_DIED == 3  # documented
