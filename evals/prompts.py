"""Prompts as batches of tokens, in few shapes."""

import dataclasses
import logging
import math
from collections.abc import Iterator, Sequence

import numpy as np

from configs.errors import UserError
from evals.writing import Writing
from train.mesh.sharding import batch_ways
from train.pretrained import Pretrained

log = logging.getLogger(__name__)

_BATCH_TOKENS = 2**14  # of a batch: prompts, and room for what follows
_SHORTEST = 16


@dataclasses.dataclass(frozen=True)
class Encoded:
  """Tokens that a model reads: what it goes on from, and a source."""

  target: np.ndarray
  source: np.ndarray


def encode(
  pretrained: Pretrained, prompts: Sequence[str], max_tokens: int
) -> list[Encoded]:
  """What is read before each continuation.

  Raises:
    UserError: the model was trained for too few tokens, or a prompt is none
      that UTF-8 can hold.
  """
  length = pretrained.config.data.sequence_length
  if max_tokens > length:
    raise UserError(
      f'max_tokens = {max_tokens}: the model was trained for texts of '
      f'data.sequence_length = {length} tokens, prompt included'
    )
  tokenizer = pretrained.tokenizer
  for prompt in prompts:
    try:
      prompt.encode()
    except UnicodeEncodeError as error:
      raise UserError(f'prompt {prompt!r} is no valid text: {error}') from error
  tokens = tokenizer.encode_batch(list(prompts))
  config = pretrained.config.model
  if config.architecture == 'encoder_decoder':
    target = np.array([config.start_token])
    return [
      Encoded(
        target, np.concatenate([own[: length - 1], [tokenizer.separator_id]])
      )
      for own in tokens
    ]
  # The last token that is written is never read.
  room = length - max_tokens
  cut = sum(len(own) > room for own in tokens)
  if cut and not room:
    raise UserError(
      f'max_tokens = {max_tokens}: leaves no room for a prompt among the '
      f'data.sequence_length = {length} tokens that the model was trained for'
    )
  if cut:
    log.warning(
      '%d of %d prompts lose their oldest tokens: only %d fit before '
      'max_tokens = %d',
      cut,
      len(tokens),
      room,
      max_tokens,
    )
  starts = [tokenizer.start_id]
  return [
    Encoded(np.concatenate([starts, own[max(0, len(own) - room) :]]), own[:0])
    for own in tokens
  ]


def batches(
  pretrained: Pretrained, encoded: Sequence[Encoded], writing: Writing
) -> Iterator[list[int]]:
  """Numbers of prompts that are written after together, shortest first."""

  def size(number: int) -> int:
    return len(encoded[number].target) + len(encoded[number].source)

  numbers = sorted(range(len(encoded)), key=size)
  longest = padded(size(numbers[-1])) + padded(writing.max_tokens)
  ways = batch_ways(pretrained.mesh)
  most = _BATCH_TOKENS // (longest * writing.num_beams)
  most = max(1, most // ways) * ways
  for start in range(0, len(numbers), most):
    yield numbers[start : start + most]


def rows_of(
  pretrained: Pretrained, encoded: Sequence[Encoded], numbers: Sequence[int]
) -> dict[str, np.ndarray]:
  """Arrays of a batch, their sizes powers of two as far as they can be."""
  ways = batch_ways(pretrained.mesh)
  size = ways * 2 ** math.ceil(math.log2(max(1, len(encoded) / ways)))
  # All go on in the same place, at the end; a source begins its row.
  rows = _arrays([one.target for one in encoded], size, at_end=True)
  if pretrained.config.model.architecture == 'encoder_decoder':
    sources = _arrays([one.source for one in encoded], size, at_end=False)
    rows |= {f'source_{key}': value for key, value in sources.items()}
  rows['numbers'] = np.zeros((size, 1), np.int32)
  rows['numbers'][: len(numbers), 0] = numbers
  return rows


def _arrays(
  texts: Sequence[np.ndarray], size: int, at_end: bool
) -> dict[str, np.ndarray]:
  length = padded(max(map(len, texts)))
  tokens, segments = np.zeros((2, size, length), np.int32)
  for row, text in enumerate(texts):
    start = length - len(text) if at_end else 0
    tokens[row, start : start + len(text)] = text
    segments[row, start : start + len(text)] = 1
  return {'tokens': tokens, 'segment_ids': segments}


def padded(length: int) -> int:
  """A power of two: lengths are few, and so are compiled programs."""
  return max(_SHORTEST, 2 ** math.ceil(math.log2(length)))
