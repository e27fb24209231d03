"""Multiple choice: by hand, by an oracle, with worked examples."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.errors import UserError
from data.tasks import Choice
from data.tokenizer import ByteTokenizer
from evals import choice

ITEMS = [
  Choice('Q1', ('aa', 'bbbb'), 0),
  Choice('Q2', ('cccc', 'ä'), 0),  # 4 and 2 bytes
  Choice('Q3', ('e', 'ff', 'g'), 2),
]
# The likeliest: 0, 1 and 2; for its length: 1, 0 and 1.
NATS = np.array([2.0, 3.0, 3.0, 2.0, 1.5, 1.2, 1.0])
# Less these: 0 (-1 < 0), 0 (-2 < 0) and 1 (0.3, 0.2, 0.9).
ALONE = np.array([3.0, 3.0, 5.0, 2.0, 1.2, 1.0, 0.1])


def test_scores_by_hand():
  found = choice.scores_of(ITEMS, -NATS, -ALONE)
  assert found['acc'].value == 2 / 3
  assert found['acc_norm'].value == 1 / 3
  assert found['acc_mutual_info'].value == 2 / 3
  bits = np.array([2.0, 3.0, 1.0]) / math.log(2)
  assert found['bits_per_byte'].value == pytest.approx(bits.sum() / 7)
  assert all(score.n == 3 for score in found.values())
  assert found['acc'].interval is not None
  assert found['bits_per_byte'].interval is None


def test_a_model_that_repeats_is_an_oracle_of_repetition(pretrained):
  """Blocks that add nothing leave the last token's embedding, which is closest
  to itself: such a model finds the repetition of a letter likeliest."""
  assert not pretrained.config.model.tied_head
  random = np.random.default_rng(0)
  embedding = random.normal(size=pretrained.params['embedding']['table'].shape)
  embedding *= 10 / np.linalg.norm(embedding, axis=-1, keepdims=True)
  params = jax.tree.map(jnp.zeros_like, pretrained.params)
  params['head'] = jnp.asarray(embedding, jnp.float32)
  params['embedding'] = {'table': params['head']}
  params['decoder']['final_norm'] = {'scale': jnp.ones(16)}
  oracle = dataclasses.replace(
    pretrained, params=params, tokenizer=ByteTokenizer()
  )
  letters = 'abcdefghijklmnopqrst'
  items = []
  for number, letter in enumerate(letters):
    wrong = [letters[(number + shift) % 20] * 4 for shift in (3, 5, 9)]
    answer = number % 4
    choices = (*wrong[:answer], letter * 4, *wrong[answer:])
    items.append(Choice(letter * 3, choices, answer))
  found = choice.evaluate(oracle, items)
  assert found['acc'].value == found['acc_norm'].value == 1
  low, high = found['acc'].interval
  assert 0.8 < low < high == 1


def test_worked_examples_precede_the_question():
  contexts = choice.prompts(ITEMS[:1], ITEMS[1:], 2, seed=0)
  assert contexts[0] in (
    'Q2cccc\n\nQ3g\n\nQ1',
    'Q3g\n\nQ2cccc\n\nQ1',
  )


def test_without_shots_there_is_the_context_alone():
  assert choice.prompts(ITEMS, (), 0, seed=0) == ['Q1', 'Q2', 'Q3']


def test_worked_examples_follow_from_the_seed_and_the_number():
  worked = [Choice(f'W{i}', ('!', '?'), 0) for i in range(50)]
  one = choice.prompts(ITEMS, worked, 3, seed=0)
  assert choice.prompts(ITEMS, worked, 3, seed=0) == one
  assert choice.prompts(ITEMS[:2], worked, 3, seed=0) == one[:2]
  assert choice.prompts(ITEMS, worked, 3, seed=1) != one
  drawn = {prompt.rpartition('\n\n')[0] for prompt in one}
  assert len(drawn) == 3
  assert all(len(set(shots.split('\n\n'))) == 3 for shots in drawn)


def test_too_few_worked_examples():
  with pytest.raises(UserError, match='only 3 worked examples'):
    choice.prompts(ITEMS, ITEMS, 4, seed=0)


def test_shots_change_what_is_scored(pretrained):
  items = [Choice('the sail, the ', ('tide', 'knife'), 0)] * 2
  worked = [Choice('the mast, the ', ('rope', 'spoon'), 0)] * 2
  zero = choice.evaluate(pretrained, items)
  one = choice.evaluate(pretrained, items, worked, shots=1)
  assert zero['bits_per_byte'].value != one['bits_per_byte'].value
