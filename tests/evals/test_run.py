"""A checkpoint scored from end to end."""

import dataclasses
import json
import math
import pathlib
import subprocess
import sys

import jax
import pytest

from configs.errors import UserError
from configs.tree import with_overrides
from data.tasks import Choice
from evals import choice, tasks
from evals.likelihood import log_likelihoods
from evals.run import evaluate
from train import checkpoint, loop
from train.pretrained import check_decoder

ROOT = pathlib.Path(__file__).parents[2]


def test_scores_have_their_keys(eval_run):
  devices = jax.devices()[:1]
  found = evaluate(
    eval_run, ['heldout', 'continuation'], limit=8, devices=devices
  )
  assert found['checkpoint'] == str(checkpoint.find(eval_run))
  assert {task: set(found['tasks'][task]) for task in found['tasks']} == {
    'heldout': {'loss', 'bits_per_byte', 'perplexity'},
    'continuation': {
      'acc',
      'acc_norm',
      'acc_mutual_info',
      'bits_per_byte',
    },
  }
  for metrics in found['tasks'].values():
    for score in metrics.values():
      assert set(score) - {'interval'} == {'value', 'stderr', 'n'}
  assert found['tasks']['continuation']['acc']['n'] == 8
  assert json.loads(json.dumps(found)) == found
  assert evaluate(eval_run, ['continuation'], limit=8, devices=devices)[
    'tasks'
  ] == {'continuation': found['tasks']['continuation']}


def test_a_checkpoint_of_another_step(eval_run):
  loss = [
    evaluate(
      eval_run, ['heldout'], limit=8, step=step, devices=jax.devices()[:1]
    )['tasks']['heldout']['loss']['value']
    for step in (10, 20)
  ]
  assert loss[0] != loss[1]


@pytest.mark.parametrize(
  ('kwargs', 'message'),
  [
    ({'tasks': ['nope']}, 'choose from heldout, continuation'),
    ({'tasks': []}, 'choose from heldout, continuation'),
    ({'tasks': ['heldout'], 'shots': 2}, 'heldout takes no worked examples'),
    ({'tasks': ['heldout'], 'shots': -1}, 'shots = -1: at least 0'),
    ({'tasks': ['heldout'], 'limit': -1}, 'limit = -1: at least 0'),
    ({'tasks': ['continuation'], 'limit': 1}, 'at least 2'),
    ({'tasks': ['heldout'], 'step': 7}, 'no checkpoint of step 7'),
  ],
)
def test_mistakes(eval_run, kwargs, message):
  with pytest.raises(UserError, match=message):
    evaluate(eval_run, **kwargs)


ITEM = Choice('The sail is', (' red', ' bread'), 0)


@pytest.mark.parametrize(
  'use',
  [
    check_decoder,
    lambda model: choice.evaluate(model, [ITEM, ITEM]),
    lambda model: log_likelihoods(model, [('a', 'b')]),
  ],
  ids=['alone', 'choice', 'likelihood'],
)
def test_a_model_that_predicts_no_next_token(pretrained, use):
  model = dataclasses.replace(pretrained.config.model, architecture='encoder')
  config = dataclasses.replace(pretrained.config, model=model)
  with pytest.raises(UserError, match="architecture 'encoder': this needs a"):
    use(dataclasses.replace(pretrained, config=config))


def test_an_encoder_is_scored_by_what_it_was_trained_on(tiny_config, tmp_path):
  """By loss on masked tokens; no text has a likelihood under it."""
  config = with_overrides(
    tiny_config,
    {
      'model.architecture': 'encoder',
      'model.mlm_head': True,
      'model.tied_head': True,
      'model.num_layers': 1,
      'data.objective.kind': 'masked',
      'schedule.warmup_steps': 0,
      'schedule.decay_steps': 0,
      'train.num_steps': 2,
    },
  )
  devices = jax.devices()[:1]
  loop.run(config, tmp_path, devices=devices, show_progress=False)
  found = evaluate(tmp_path, ['heldout'], limit=8, devices=devices)
  scores = found['tasks']['heldout']
  assert set(scores) == {'loss', 'bits_per_byte', 'perplexity'}
  assert scores['loss']['value'] == pytest.approx(math.log(320), abs=0.5)
  again = evaluate(tmp_path, ['heldout'], limit=8, devices=devices)
  assert again == found
  with pytest.raises(UserError, match='this needs a decoder'):
    evaluate(tmp_path, ['continuation'], limit=8, devices=devices)


def test_other_text_than_it_was_trained_on(pretrained):
  meta = dataclasses.replace(pretrained.meta, corpus={'digest': 'other'})
  changed = dataclasses.replace(pretrained, meta=meta)
  with pytest.raises(UserError, match='trained on other text'):
    tasks.corpus_of(changed)


def test_the_command(eval_run, tmp_path):
  out = tmp_path / 'new' / 'scores.json'
  command = [
    *(sys.executable, '-m', 'evals.run', f'--checkpoint={eval_run}'),
    *('--tasks=continuation', '--limit=4', '--shots=1', f'--out={out}'),
  ]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  assert done.returncode == 0, done.stderr
  found = json.loads(out.read_text())['tasks']['continuation']
  assert f'continuation acc: {found["acc"]["value"]:.4f}' in done.stdout
