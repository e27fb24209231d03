"""A CPU as several devices."""

import math

import jax

from train.processes.peers import Peers


def split_cpu(
  mesh_data: int, batch_size: int, peers: Peers | None = None
) -> None:
  """Makes each core a device, as far as a batch divides over them.

  A step of a small model has too little in one product to share between cores:
  with a part of the batch for each it is about 1.3 times as fast. For commands,
  before JAX has looked for devices. A number that the user chose stays, as
  `mesh.data` or `JAX_NUM_CPU_DEVICES`; other platforms are not concerned.

  Args:
    mesh_data: of the config; -1 lets the mesh fill what there is.
    batch_size: sequences in a batch.
    peers: the processes, if there are several: those of a machine share its
      cores, and all of them make as many devices.
  """
  chosen: int = jax.config.jax_num_cpu_devices  # type: ignore[attr-defined]
  if chosen >= 1 or mesh_data != -1:
    return
  everybody = (peers or Peers()).peers
  hosts = [peer.host for peer in everybody]
  shares = [peer.cores // hosts.count(peer.host) for peer in everybody]
  rows, rest = divmod(batch_size, len(everybody))
  count = 1 if rest else math.gcd(rows, max(1, min(shares)))
  jax.config.update('jax_num_cpu_devices', count)
