"""What text is read and how it is cut into batches."""

import dataclasses

from configs.errors import UserError

TOKENIZERS = ('bpe', 'byte')


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """The `data` section of a config; configs/pretrain.py tells of its keys."""

  source: str
  cache_dir: str
  tokenizer: str
  vocab_size: int
  sequence_length: int
  batch_size: int
  seed: int

  def validate(self) -> None:
    """Raises UserError for a value that cannot work."""
    if not self.source.startswith(('tfds:', 'files:')):
      raise UserError(
        f'data.source = {self.source!r}: expected tfds:NAME or files:GLOB'
      )
    if self.tokenizer not in TOKENIZERS:
      raise UserError(
        f'data.tokenizer = {self.tokenizer!r}: choose from '
        + ', '.join(TOKENIZERS)
      )
    if self.vocab_size < 257:
      raise UserError(
        f'data.vocab_size = {self.vocab_size}: at least 257, which are all '
        'bytes and the document separator'
      )
    for key in ('sequence_length', 'batch_size'):
      if getattr(self, key) < 1:
        raise UserError(f'data.{key} = {getattr(self, key)}: at least 1')
    if self.seed < 0:
      raise UserError(f'data.seed = {self.seed}: at least 0')
