"""Readers that are killed, and go on in another number of processes."""

import dataclasses
import hashlib
import json
import os
import pathlib
import random
import subprocess
import sys
import time

import numpy as np
import pytest

from configs import tree
from data import corpus as corpora
from data import pipeline
from data.config import DataConfig
from data.mixture import MixtureConfig
from data.objectives.base import ObjectiveConfig
from data.recipe import make_recipe

ROOT = pathlib.Path(__file__).parents[2]
STEPS = 120

# Reads its rows of every batch from a step on, and notes what they are.
READER = """
import json, sys, time
from tests.data import test_resume
config, first, start, stop, path = json.loads(sys.argv[1])
batches = test_resume.batches(config, slice(start, stop), first)
with open(path, 'a') as file:
  for step in range(first, test_resume.STEPS):
    rows = test_resume.row_digests(next(batches))
    state = batches.get_state()
    file.write(json.dumps([step, state['next_index'], rows]) + '\\n')
    file.flush()
    time.sleep(0.002)
"""


def batches(config, own, first_step):
  """This process's batches."""
  config = tree.to_dataclass(DataConfig, config)
  corpus = corpora.prepare(config)
  recipe = make_recipe(config, corpus.tokenizer, 'encoder')
  rows = pipeline.train_rows(corpus, config, recipe)
  return pipeline.train_batches(rows, config, own, first_step)


def row_digests(batch):
  """What each row of a batch is, over all of its arrays."""
  return [
    hashlib.sha256(
      b''.join(np.ascontiguousarray(batch[key][row]) for key in sorted(batch))
    ).hexdigest()[:16]
    for row in range(len(batch['tokens']))
  ]


@pytest.fixture(scope='module')
def config(data_config, text_dir):
  """Masked text of two sources, packed by best fit: all that is drawn."""
  config = dataclasses.replace(
    data_config,
    source=f'files:{text_dir}/kitchen.jsonl;files:{text_dir}/harbour.jsonl',
    mixture=MixtureConfig(weights=(0.7, 0.3)),
    objective=ObjectiveConfig(kind='masked'),
    packing='fit',
    sequence_length=32,
    vocab_size=330,
  )
  corpora.prepare(config)
  return dataclasses.asdict(config)


def _read_until_killed(config, folder, first, processes, last):
  """Starts readers, kills them at some step; returns the rows of each step."""
  each = 8 // processes
  paths = [folder / f'{first}-{processes}-{p}' for p in range(processes)]
  readers = [
    subprocess.Popen(
      [
        sys.executable,
        '-c',
        READER,
        json.dumps([config, first, p * each, (p + 1) * each, str(path)]),
      ],
      cwd=ROOT,
      env=os.environ | {'PYTHONPATH': str(ROOT)},
      stderr=subprocess.DEVNULL,
    )
    for p, path in enumerate(paths)
  ]
  deadline = time.monotonic() + 120
  while any(len(_lines(path)) <= last - first for path in paths):
    assert time.monotonic() < deadline
    if all(reader.poll() is not None for reader in readers):
      break
    time.sleep(0.005)
  for reader in readers:
    reader.kill()
    reader.wait()
  parts = [_lines(path) for path in paths]
  steps = min(map(len, parts))  # of which all have noted their rows
  assert steps
  for number in range(steps):
    assert {part[number][0] for part in parts} == {first + number}
    assert {part[number][1] for part in parts} == {first + number + 1}
  return [
    [row for part in parts for row in part[number][2]]
    for number in range(steps)
  ]


def _lines(path):
  """The whole lines of a file that may be cut off anywhere."""
  if not path.exists():
    return []
  text = path.read_text()
  return [json.loads(line) for line in text.split('\n')[:-1]]


def test_killed_readers_go_on_in_more_processes(config, tmp_path):
  undisturbed = batches(config, slice(None), 0)
  expected = [row_digests(next(undisturbed)) for _ in range(STEPS)]
  draw = random.Random()
  seen = []
  for processes in (1, 2, 4):
    last = draw.randint(len(seen), min(len(seen) + 30, STEPS - 1))
    seen += _read_until_killed(config, tmp_path, len(seen), processes, last)
  assert seen == expected[: len(seen)]
  assert len(seen) >= 3
