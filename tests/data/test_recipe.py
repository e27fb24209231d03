import dataclasses

import pytest

from configs.errors import UserError
from data.byte_tokenizer import ByteTokenizer
from data.objectives import ARCHITECTURES
from data.objectives.base import KEEP_LENGTH, ObjectiveConfig
from data.recipe import make_recipe, special_tokens, vocabulary


def _config(data_config, kind, **changes):
  return dataclasses.replace(
    data_config,
    **{
      'objective': ObjectiveConfig(kind=kind),
      'packing': 'fit',
      'sequence_length': 512,
      **changes,
    },
  )


def _tokenizer(config):
  return ByteTokenizer(special_tokens(config))


def test_what_text_is_made_of():
  told = vocabulary(ByteTokenizer(('[MASK]',)))
  assert told.ordinary.tolist() == list(range(256))
  assert told.size == 258
  assert told.ids['[MASK]'] == 257
  assert told.separator_id == 256


def test_spans_fill_an_encoder_as_those_of_t5(data_config):
  # T5's 512 tokens of source and 114 of target are of 568 tokens of text
  # (t5.data.preprocessors.random_spans_helper); an end token is one of each
  # there. Here one row more of the source is text.
  config = _config(data_config, 'spans')
  recipe = make_recipe(config, _tokenizer(config), 'encoder_decoder', 5)
  assert recipe.shape.source_length == 512
  assert abs(recipe.piece_length - 568) <= 2
  assert abs(recipe.shape.length - 114) <= 1
  assert recipe.objective.start_id == 5


def test_a_decoder_has_the_source_as_its_prefix(data_config):
  config = _config(data_config, 'spans')
  recipe = make_recipe(config, _tokenizer(config))
  assert recipe.shape.has_prefix
  assert recipe.shape.source_length == 0
  assert recipe.piece_length < 512
  assert recipe.objective.sizes(recipe.piece_length, 0.0)[1] <= 512


@pytest.mark.parametrize('kind', ARCHITECTURES)
def test_the_config_knows_which_objectives_keep_lengths(data_config, kind):
  config = _config(data_config, kind)
  recipe = make_recipe(config, _tokenizer(config), ARCHITECTURES[kind][0])
  assert recipe.objective.keeps_length == (kind in KEEP_LENGTH)


def test_a_causal_row_is_a_piece(data_config):
  config = dataclasses.replace(data_config, sequence_length=32)
  recipe = make_recipe(config, ByteTokenizer())
  assert recipe.piece_length == recipe.shape.length == 32
  assert not recipe.shape.has_prefix
  assert special_tokens(config) == ()


@pytest.mark.parametrize(
  ('kind', 'architecture', 'changes', 'message'),
  [
    ('causal', 'decoder', {'target_length': 8}, r'data\.target_length = 8'),
    ('causal', 'encoder', {}, r'model\.architecture = decoder'),
    ('ul2', 'encoder_decoder', {'sequence_length': 1}, 'not one token'),
  ],
)
def test_what_does_not_fit(data_config, kind, architecture, changes, message):
  config = _config(data_config, kind, **changes)
  with pytest.raises(UserError, match=message):
    make_recipe(config, _tokenizer(config), architecture)


def test_a_tokenizer_without_the_marks(data_config):
  with pytest.raises(UserError, match=r'special token \[MASK\]'):
    make_recipe(_config(data_config, 'masked'), ByteTokenizer(), 'encoder')
