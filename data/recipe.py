"""From a config and a tokenizer: how text becomes what a model reads."""

import dataclasses

import numpy as np

from configs.errors import UserError
from data import objectives
from data.batch import BatchShape
from data.config import DataConfig
from data.objectives.base import Objective, Vocabulary
from data.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class Recipe:
  """What a row is made of.

  Attributes:
    objective: what a model learns of a piece of text.
    shape: of a global batch.
    piece_length: tokens that a piece has at most.
    separator_id: the target after a document's last token.
  """

  objective: Objective
  shape: BatchShape
  piece_length: int
  separator_id: int

  def generator(self, key: tuple[int, ...]) -> np.random.Generator:
    """The random numbers of an example, by what it is."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def make_recipe(
  config: DataConfig,
  tokenizer: Tokenizer,
  architecture: str = 'decoder',
  start_id: int = 0,
) -> Recipe:
  """Fits an objective, a model's shape and the lengths of a config together.

  Args:
    config: of the data.
    tokenizer: whose special tokens the objective uses.
    architecture: 'decoder', 'encoder' or 'encoder_decoder'.
    start_id: what a target begins with, of an encoder-decoder.

  Raises:
    UserError: they do not fit.
  """
  objective = objectives.make(
    config.objective, architecture, vocabulary(tokenizer), start_id
  )
  length, encodes = config.sequence_length, architecture == 'encoder_decoder'
  if not encodes and config.target_length:
    raise UserError(
      f'data.target_length = {config.target_length}: only an encoder_decoder '
      f'has targets of another length, and this is of {architecture!r}'
    )
  if not encodes:
    piece = objectives.longest_piece(objective, 0, length)
    shape = BatchShape(
      config.batch_size, length, has_prefix=objectives.has_prefix(objective)
    )
  else:
    target = config.target_length or objectives.target_length(objective, length)
    piece = objectives.longest_piece(objective, length, target)
    shape = BatchShape(config.batch_size, target, source_length=length)
  if piece < 1:
    raise UserError(
      f'data.sequence_length = {length}, data.target_length = '
      f'{config.target_length}: not one token of text fits; raise them'
    )
  return Recipe(objective, shape, piece, tokenizer.separator_id)


def special_tokens(config: DataConfig) -> tuple[str, ...]:
  """What the objective of a config needs of a tokenizer."""
  # The longest piece whose source is a row: noise takes its share of it.
  longest = config.sequence_length + 1
  if config.objective.kind == 'spans':
    longest = int(longest / (1 - config.objective.noise_density)) + 1
  return objectives.special_tokens(config.objective, longest)


def vocabulary(tokenizer: Tokenizer) -> Vocabulary:
  """What objectives know of a tokenizer."""
  ordinary = np.setdiff1d(
    np.arange(tokenizer.vocab_size, dtype=np.int32), tokenizer.special_ids
  )
  return Vocabulary(
    size=tokenizer.vocab_size,
    separator_id=tokenizer.separator_id,
    ordinary=ordinary,
    starts_word_V=tokenizer.starts_word,
    ids=tokenizer.special_tokens,
  )
