"""Which device stands where in a mesh, within slices and across them."""

import itertools
import math
from collections.abc import Sequence

import jax
import numpy as np
from jax.experimental import mesh_utils

from configs.errors import UserError
from train.mesh.config import MeshConfig
from train.mesh.rules import MESH_AXES


def arranged(config: MeshConfig, devices: Sequence[jax.Device]) -> np.ndarray:
  """The devices as an array of `MESH_AXES`.

  Within a slice they follow its links, the last axes on neighbours. An axis
  that extends over slices has the slices in its major place, so that what its
  devices exchange crosses the network between slices once.

  TPUs know their slices. Other devices stand for some: hosts of GPUs, processes
  or, if neither are as many, blocks of consecutive devices.

  Raises:
    UserError: the axes do not multiply to the number of devices, or the devices
      are of another number of slices.
  """
  shape = config.shape(len(devices))
  across = tuple(config.slices.get(axis, 1) for axis in MESH_AXES)
  within = tuple(a // b for a, b in zip(shape, across, strict=True))
  count = math.prod(across)
  slices = {getattr(device, 'slice_index', None) for device in devices}
  if devices[0].platform == 'tpu' and len(slices) != count:
    raise UserError(
      f'mesh.dcn_data x mesh.dcn_fsdp = {config.dcn_data} x {config.dcn_fsdp}: '
      f'the {len(devices)} devices are of {len(slices)} slices'
    )
  if count == 1:
    return mesh_utils.create_device_mesh(
      shape, devices, allow_split_physical_axes=True
    )
  processes = {device.process_index for device in devices}
  if count in (len(slices), len(processes)):
    return mesh_utils.create_hybrid_device_mesh(
      within,
      across,
      devices,
      process_is_granule=len(slices) != count,
      allow_split_physical_axes=True,
    )
  blocks = np.array(devices).reshape(across + within)
  rank = len(shape)
  pairs = zip(range(rank), range(rank, 2 * rank), strict=True)
  return blocks.transpose(list(itertools.chain(*pairs))).reshape(shape)
