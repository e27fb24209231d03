"""What a batch is made of: the arrays that a training step takes."""

import dataclasses

import numpy as np

Batch = dict[str, np.ndarray]

_TARGET_SIDE = ('tokens', 'targets', 'segment_ids', 'positions')
_SOURCE_SIDE = ('source_tokens', 'source_segment_ids', 'source_positions')


@dataclasses.dataclass(frozen=True)
class BatchShape:
  """Shapes of a global batch.

  Every batch has `tokens`, `targets`, `segment_ids`, `positions` (int32) and
  `weights` (float32), all [B, L]. Segments are the documents of a row, counted
  from 1, and 0 where there is none; positions count from 0 in each. What an
  encoder reads apart from that is `source_tokens`, `source_segment_ids` and
  `source_positions`, int32 [B, S]; a segment there is the source of the same
  segment here. `prefix`, int32 [B, L], is 1 where every token of its segment
  may look.

  Attributes:
    batch_size: B, rows over all processes.
    length: L, tokens of a row.
    source_length: S; 0 where there is no encoder beside a decoder.
    has_prefix: whether there is a `prefix`.
  """

  batch_size: int
  length: int
  source_length: int = 0
  has_prefix: bool = False

  def arrays(self) -> dict[str, tuple[tuple[int, int], type[np.generic]]]:
    """(shape, dtype) of each array, by name."""
    shape = self.batch_size, self.length
    found: dict[str, tuple[tuple[int, int], type[np.generic]]] = {
      key: (shape, np.int32) for key in _TARGET_SIDE
    }
    found['weights'] = shape, np.float32
    if self.has_prefix:
      found['prefix'] = shape, np.int32
    if self.source_length:
      source = self.batch_size, self.source_length
      found |= {key: (source, np.int32) for key in _SOURCE_SIDE}
    return found

  def empty(self, num_rows: int) -> Batch:
    """`num_rows` rows in which there is nothing yet."""
    return {
      key: np.zeros((num_rows, shape[1]), dtype)
      for key, (shape, dtype) in self.arrays().items()
    }
