"""The typed view of the `mesh` section."""

import dataclasses
import math

from configs.errors import UserError


@dataclasses.dataclass(frozen=True)
class MeshConfig:
  """Devices along each mesh axis; -1 takes what the others leave."""

  data: int
  fsdp: int
  tensor: int
  expert: int = 1

  def validate(self) -> None:
    """Raises UserError for a size below 1, or more than one -1."""
    sizes = dataclasses.asdict(self)
    for key, size in sizes.items():
      if size < 1 and size != -1:
        raise UserError(f'mesh.{key} = {size}: at least 1, or -1 to fill')
    if list(sizes.values()).count(-1) > 1:
      raise UserError(f'mesh = {sizes}: only one axis can be -1')

  def shape(self, num_devices: int) -> tuple[int, ...]:
    """Sizes of the axes for a number of devices.

    Raises:
      UserError: the product of the axes is not the number of devices.
    """
    sizes = [self.data, self.fsdp, self.tensor, self.expert]
    known = math.prod(size for size in sizes if size != -1)
    if -1 in sizes and num_devices % known == 0:
      sizes[sizes.index(-1)] = num_devices // known
    if math.prod(sizes) != num_devices:
      raise UserError(
        f'mesh (data, fsdp, tensor, expert) = {tuple(sizes)} does not make up '
        f'{num_devices} devices; set one axis to -1 to fill'
      )
    return tuple(sizes)
