"""Blanks in texts, filled by an encoder."""

from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from configs.errors import UserError
from data.tokenizer import Tokenizer
from evals.prompts import padded
from evals.writers import filler, put
from evals.writing import Written
from train.mesh.sharding import batch_ways
from train.pretrained import Pretrained

_ROWS = 8  # of a batch, on each device that has some
_MASKS = ('[MASK]', '<mask>')


def fill(
  pretrained: Pretrained, prompts: Sequence[str], show_progress: bool
) -> list[Written]:
  """Texts with their masks filled.

  Args:
    pretrained: an encoder with a masked-token head.
    prompts: texts with `[MASK]` (or `<mask>`) for each token to be filled in.
    show_progress: a progress bar on stderr.

  Raises:
    UserError: there is no such head, the tokenizer has no masks, or a text is
      too long.
  """
  if not pretrained.config.model.mlm_head:
    raise UserError(
      f'{pretrained.folder} is an encoder without a masked-token head '
      '(model.mlm_head = False): it fills nothing'
    )
  tokenizer = pretrained.tokenizer
  mask_id = _special(tokenizer, _MASKS)
  if mask_id is None:
    raise UserError(
      f'the tokenizer of {pretrained.folder} has none of {", ".join(_MASKS)}'
    )
  length = pretrained.config.data.sequence_length
  rows = [
    [
      tokenizer.start_id,
      *_with_masks(tokenizer, prompt, mask_id),
      tokenizer.separator_id,
    ]
    for prompt in prompts
  ]
  for prompt, row in zip(prompts, rows, strict=True):
    if len(row) > length:
      raise UserError(
        f'{prompt[:40]!r}... has {len(row)} tokens: the model takes {length}'
      )
  mesh = pretrained.mesh
  call = filler(pretrained.model, mesh)
  size = _ROWS * batch_ways(mesh)
  found = []
  for start_row in tqdm(
    range(0, len(rows), size), desc='filling', disable=not show_progress
  ):
    own = rows[start_row : start_row + size]
    tokens, segments = np.zeros((2, size, padded(max(map(len, own)))), np.int32)
    for place, row in enumerate(own):
      tokens[place, : len(row)] = row
      segments[place, : len(row)] = 1
    batch = put({'tokens': tokens, 'segment_ids': segments}, mesh)
    filled = np.asarray(
      call(pretrained.params, batch, mask_id, tokenizer.vocab_size)
    )
    for place, row in enumerate(own):
      inner = filled[place, 1 : len(row) - 1]
      found.append(Written(tokenizer.decode(inner), inner, 'filled'))
  return found


def _with_masks(tokenizer: Tokenizer, prompt: str, mask_id: int) -> list[int]:
  """Tokens of a text in which a mask is spelled out."""
  for mask in _MASKS:
    prompt = prompt.replace(mask, _MASKS[0])
  pieces = tokenizer.encode_batch(prompt.split(_MASKS[0]))
  tokens = list(pieces[0])
  for piece in pieces[1:]:
    tokens += [mask_id, *piece]
  return tokens


def _special(tokenizer: Tokenizer, names: Sequence[str]) -> int | None:
  found = (tokenizer.id_of(name) for name in names)
  return next((index for index in found if index is not None), None)
