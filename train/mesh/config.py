"""The typed view of the `mesh` section."""

import dataclasses
import math

from configs.errors import UserError
from train.mesh.placement import Placement, parse
from train.mesh.rules import MESH_AXES


@dataclasses.dataclass(frozen=True)
class MeshConfig:
  """Devices along each mesh axis, and what of arrays lies along them.

  Attributes:
    data, fsdp, tensor, expert, sequence: devices along each axis, over all
      slices; -1 takes what the others leave.
    dcn_data, dcn_fsdp: slices, which only a data-center network connects, that
      these axes extend over; each slice has an equal part of the axis.
    strategy: a key of `train.mesh.rules.STRATEGIES`.
    overrides: of parameters, see `train.mesh.placement.parse`.
  """

  data: int
  fsdp: int
  tensor: int
  expert: int = 1
  sequence: int = 1
  dcn_data: int = 1
  dcn_fsdp: int = 1
  strategy: str = 'fsdp'
  overrides: tuple[str, ...] = ()

  def validate(self) -> None:
    """Raises UserError for sizes or rules that no devices could satisfy."""
    sizes = self._sizes()
    for key, size in sizes.items():
      if size < 1 and size != -1:
        raise UserError(f'mesh.{key} = {size}: at least 1, or -1 to fill')
    if list(sizes.values()).count(-1) > 1:
      raise UserError(f'mesh = {sizes}: only one axis can be -1')
    for key, count in self.slices.items():
      if count < 1:
        raise UserError(f'mesh.dcn_{key} = {count}: at least 1 slice')
      if sizes[key] != -1:
        self._check_slices(key, sizes[key])
    parse(self.strategy, self.overrides)

  @property
  def placement(self) -> Placement:
    """The strategy and the overrides."""
    return parse(self.strategy, self.overrides)

  @property
  def slices(self) -> dict[str, int]:
    """How many slices each axis extends over that may do so."""
    return {'data': self.dcn_data, 'fsdp': self.dcn_fsdp}

  def shape(self, num_devices: int) -> tuple[int, ...]:
    """Sizes of `MESH_AXES`, over all slices, for a number of devices.

    Raises:
      UserError: the product of the axes is not the number of devices, or an
        axis cannot be divided among its slices.
    """
    sizes = self._sizes()
    known = math.prod(size for size in sizes.values() if size != -1)
    told = f'mesh ({", ".join(sizes)}) = {tuple(sizes.values())}'
    for key, size in sizes.items():
      if size == -1:
        if num_devices % known:
          raise UserError(
            f'{told}: {known} does not divide {num_devices} devices, so no '
            f'mesh.{key} fills them'
          )
        sizes[key] = num_devices // known
    if math.prod(sizes.values()) != num_devices:
      raise UserError(
        f'{told} makes up {known} devices, and there are {num_devices} '
        'devices; set one axis to -1 to fill'
      )
    for key in self.slices:
      self._check_slices(key, sizes[key])
    return tuple(sizes.values())

  def _sizes(self) -> dict[str, int]:
    return {axis: getattr(self, axis) for axis in MESH_AXES}

  def _check_slices(self, key: str, size: int) -> None:
    count = self.slices[key]
    if size % count:
      raise UserError(
        f'mesh.dcn_{key} = {count}: {count} slices do not divide mesh.{key} = '
        f'{size}, which counts the devices of all slices'
      )
