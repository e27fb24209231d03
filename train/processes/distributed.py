"""Starts this process as one of several: `--distributed` of a command.

  none              alone; nothing is touched
  auto              as JAX detects: Cloud TPU, GKE, Slurm, Open MPI, Kubernetes
  tpu, gke, slurm   as `auto`, but only if it is that one
  HOST:PORT,COUNT,INDEX
                    process INDEX of COUNT; process 0 listens at HOST:PORT

A process that dies ends all others within a minute, with one line that names it
and exit code 3; one that fails, with its own line and code.
"""

import contextlib
import dataclasses
import os
import re
from collections.abc import Iterator

import jax

from configs.command import EXIT_USER_ERROR
from configs.errors import UserError
from train.processes import peers as links
from train.processes import wire
from train.processes.peers import Linked, Peers
from train.processes.relay import Relay

FLAG = 'none, auto, tpu, gke, slurm, or HOST:PORT,COUNT,INDEX'
_TIMEOUT = 300  # seconds, for all processes to be there
# Of an environment: JAX's class of it, variables without which it is not there,
# and how one comes to have them.
_ENVIRONMENTS = {
  'tpu': ('GceTpuCluster', (), 'run it on every worker of a Cloud TPU slice'),
  'gke': (
    'GkeTpuCluster',
    ('TPU_WORKER_ID', 'TPU_WORKER_HOSTNAMES'),
    'run it in a pod of a job that asks for TPUs',
  ),
  'slurm': (
    'SlurmCluster',
    (
      'SLURM_JOB_ID',
      'SLURM_STEP_NODELIST',
      'SLURM_NTASKS',
      'SLURM_PROCID',
      'SLURM_LOCALID',
    ),
    'start it by srun, in a job',
  ),
}
# Of several slices: all of them or none.
_SLICES = (
  'MEGASCALE_COORDINATOR_ADDRESS',
  'MEGASCALE_NUM_SLICES',
  'MEGASCALE_SLICE_ID',
)


@dataclasses.dataclass(frozen=True)
class Place:
  """Of a process among several.

  Attributes:
    host: where process 0 is.
    port: at which it listens.
    count: of processes.
    index: of this one.
    device_ids: of its machine, those that this process has; None means all.
  """

  host: str
  port: int
  count: int
  index: int
  device_ids: tuple[int, ...] | None = None


@contextlib.contextmanager
def joined(flag: str, timeout: float = _TIMEOUT) -> Iterator[Peers]:
  """This process among the others, while it works with them.

  To be entered before JAX has looked for devices.

  Args:
    flag: the value of `--distributed`.
    timeout: seconds to wait until all processes are there.

  Raises:
    UserError: the flag is wrong; the environment is another one; the others are
      not there in time.
  """
  place = find_place(flag, timeout)
  if place is None or place.count == 1:
    yield Peers()
    return
  own = links.connect(place.host, place.port, place.count, place.index, timeout)
  with own.failing_together():
    relay = _start_jax(place, own, timeout)
    yield own
    relay.close()
    jax.distributed.shutdown()
    own.leave()


def find_place(flag: str, timeout: float = _TIMEOUT) -> Place | None:
  """What a value of `--distributed` says; None for 'none'.

  Raises:
    UserError: it is no such value, or the environment is another one.
  """
  if flag == 'none':
    return None
  if ',' in flag:
    return _parse(flag)
  if flag not in ('auto', *_ENVIRONMENTS):
    raise UserError(f'--distributed={flag}: choose from {FLAG}')
  if flag == 'auto':
    return _detect(flag, None, 'give HOST:PORT,COUNT,INDEX', timeout)
  method, variables, cure = _ENVIRONMENTS[flag]
  if any(name in os.environ for name in _SLICES) and flag != 'slurm':
    variables += _SLICES
  missing = [name for name in variables if name not in os.environ]
  if missing:
    raise UserError(
      f'--distributed={flag}: {", ".join(missing)} '
      f'{"is" if len(missing) == 1 else "are"} not set; {cure}'
    )
  return _detect(flag, method, cure, timeout)


def _parse(flag: str) -> Place:
  found = re.fullmatch(r'(\[[^]]+\]|[^:,]+):(\d+),(\d+),(\d+)', flag)
  if not found:
    raise UserError(f'--distributed={flag}: write HOST:PORT,COUNT,INDEX')
  port, count, index = (int(number) for number in found.groups()[1:])
  if not 0 < port < 2**16:
    raise UserError(f'--distributed={flag}: port {port} is not in 1 to 65535')
  if index >= count:
    raise UserError(
      f'--distributed={flag}: of COUNT = {count} processes, INDEX is 0 to '
      f'{max(count - 1, 0)}, not {index}'
    )
  return Place(found[1].strip('[]'), port, count, index)


def _detect(flag: str, method: str | None, cure: str, timeout: float) -> Place:
  """As JAX finds out, of any environment or of one."""
  try:
    place, told = _ask_jax(method, timeout), 'there is no such cluster'
  except Exception as error:  # of a metadata server, of Kubernetes
    place, told = None, ' '.join(str(error).split())[:200]
  if place is None:
    raise UserError(f'--distributed={flag}: {told}; {cure}')
  return place


def _ask_jax(method: str | None, timeout: float) -> Place | None:
  # JAX's own way to tell of an environment is to start at once, and to abort
  # the process where something is wrong.
  from jax._src import clusters

  name = None
  if method is not None:
    environment = getattr(clusters, method)
    name = environment.name
    if not environment.is_env_present():
      return None
  address, count, index, ids = (
    clusters.ClusterEnv.auto_detect_unset_distributed_params(
      os.environ.get('JAX_COORDINATOR_ADDRESS'),
      None,
      None,
      None,
      name,
      int(timeout),
    )
  )
  if address is None or count is None or index is None:
    return None
  host, port = address.rsplit(':', 1)
  ids = None if ids is None else tuple(ids)
  return Place(host.strip('[]'), int(port), count, index, ids)


def _start_jax(place: Place, own: Linked, timeout: float) -> Relay:
  """Makes the devices of all processes one program's."""
  host, port = own.service

  def fail(error: OSError) -> None:
    own.tell(
      f'{own.name} does not reach process 0 at {wire.joined(host, port)} '
      f'({error.strerror or error}); let the machines reach each other at all '
      'ports',
      EXIT_USER_ERROR,
    )

  # Sooner than JAX gives up, which it does without saying why.
  relay = Relay(host, port, timeout / 2, fail)
  # A proxy for the rest of the internet does not lead to this machine.
  os.environ.setdefault('no_grpc_proxy', '127.0.0.1')
  jax.config.update('jax_check_proxy_envs', False)
  # A process with one CPU device would run two programs at once, which take
  # each other's messages.
  jax.config.update('jax_cpu_enable_async_dispatch', False)
  jax.distributed.initialize(
    relay.address,
    place.count,
    place.index,
    local_device_ids=place.device_ids,
    cluster_detection_method='deactivate',
    initialization_timeout=int(timeout),
    coordinator_bind_address=f'[::]:{port}',
  )
  return relay
