"""The same weights, here and in `transformers`, give the same numbers.

Tests marked `hf` run PyTorch. The numbers that it found are in golden.json, so
that the others need none; `python -m pytest -m hf --write-golden` writes it.
"""

import dataclasses
import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import model as base
from configs import pretrain
from configs.errors import UserError
from configs.sizes import SIZES
from configs.tree import to_dataclass, with_overrides
from model import beam, generate
from model import huggingface as hf
from model.beam import Ranking
from model.config import ModelConfig
from model.counts import count_parameters
from model.generate import Choice, Prompts
from model.huggingface_config import family_of, from_theirs, to_theirs
from model.sampling import Sampling
from model.transformer import make
from train.convert import shapes_of

GOLDEN = pathlib.Path(__file__).with_name('golden.json')
VOCAB = 97
HIDDEN = {
  'vocab_size': VOCAB,
  'hidden_size': 32,
  'num_hidden_layers': 3,
  'num_attention_heads': 4,
  'intermediate_size': 56,
  'max_position_embeddings': 64,
}
GPT2 = {
  'model_type': 'gpt2',
  'vocab_size': VOCAB,
  'n_embd': 32,
  'n_layer': 3,
  'n_head': 4,
  'n_positions': 64,
  'layer_norm_epsilon': 1e-5,
  'activation_function': 'gelu_new',
}
NEOX = HIDDEN | {
  'model_type': 'gpt_neox',
  'layer_norm_eps': 1e-5,
  'hidden_act': 'gelu',
  'rotary_pct': 0.25,
}
LLAMA = HIDDEN | {
  'model_type': 'llama',
  'rms_norm_eps': 1e-5,
  'hidden_act': 'silu',
}
LLAMA3_ROPE = {
  'rope_type': 'llama3',
  'rope_theta': 10_000.0,
  'factor': 8.0,
  'low_freq_factor': 1.0,
  'high_freq_factor': 4.0,
  'original_max_position_embeddings': 32,
}
BERT = HIDDEN | {
  'model_type': 'bert',
  'layer_norm_eps': 1e-12,
  'hidden_act': 'gelu',
  'type_vocab_size': 2,
}
T5 = {
  'model_type': 't5',
  'vocab_size': VOCAB,
  'd_model': 32,
  'num_layers': 3,
  'num_heads': 4,
  'd_kv': 12,
  'd_ff': 56,
  'feed_forward_proj': 'relu',
  'layer_norm_epsilon': 1e-6,
  'relative_attention_num_buckets': 8,
  'relative_attention_max_distance': 20,
}
CASES = {
  'gpt2': GPT2,
  'gpt2 narrow': GPT2 | {'n_inner': 40, 'activation_function': 'gelu'},
  'gpt2 untied': GPT2 | {'tie_word_embeddings': False},
  'neox': NEOX,
  'neox sequential': NEOX | {'use_parallel_residual': False, 'rotary_pct': 1.0},
  'llama': LLAMA | {'num_key_value_heads': 2},
  'llama 3.1': LLAMA | {'rope_parameters': LLAMA3_ROPE},
  'llama tied': LLAMA | {'tie_word_embeddings': True, 'head_dim': 12},
  'bert': BERT | {'architectures': ['BertModel']},
  'bert masked': BERT | {'architectures': ['BertForMaskedLM']},
  'bert classes': BERT
  | {
    'architectures': ['BertForSequenceClassification'],
    'id2label': {'0': 'down', '1': 'even', '2': 'up', '3': 'gone'},
  },
  't5': T5,
  't5 v1.1': T5
  | {'feed_forward_proj': 'gated-gelu', 'tie_word_embeddings': False},
}
LENGTHS = {'one': (23,), 'packed': (9, 17, 1)}


def our_config(theirs):
  section = with_overrides(base.get_config().lock(), from_theirs(theirs))
  return to_dataclass(ModelConfig, section, 'model.')


@functools.cache
def params_of(config):
  """Random parameters by path; scales are about 1."""
  random = np.random.default_rng(0)
  return {
    path: (random.normal(0, 0.2, shape) + path.endswith('scale')).astype(
      np.float32
    )
    for path, shape in sorted(shapes_of(config).items())
  }


def documents(config, lengths):
  """Random documents, and sources for an encoder-decoder."""
  random = np.random.default_rng(1)
  found = [random.integers(0, VOCAB, length) for length in lengths]
  if config.architecture != 'encoder_decoder':
    return found, [None] * len(found)
  return found, [random.integers(0, VOCAB, length + 2) for length in lengths]


def packed(texts, total):
  """One row: tokens, segments from 1 (0 is padding), positions."""
  row = np.zeros((3, total), np.int32)
  at = 0
  for number, text in enumerate(texts, start=1):
    place = slice(at, at + len(text))
    row[:, place] = text, np.full(len(text), number), np.arange(len(text))
    at += len(text)
  return [jnp.asarray(line[None]) for line in row]


def our_numbers(config, lengths):
  """What the model gives at each token of some documents in one row.

  Of scores of classes: those of each document, in a row of its own.
  """
  texts, sources = documents(config, lengths)
  model = make(config)
  tree = {'params': hf.by_tree(params_of(config))}
  if config.num_classes:
    return np.concatenate(
      [model.apply(tree, *packed([text], 32)) for text in texts]
    )
  inputs = packed(texts, 32)
  if sources[0] is not None:
    inputs = packed(sources, 40) + inputs
  method = model.hidden if config.pooler else model.__call__
  return np.asarray(model.apply(tree, *inputs, method=method))[
    0, : sum(lengths)
  ]


@pytest.fixture(scope='module', params=CASES)
def name(request):
  return request.param


@pytest.fixture(scope='module')
def config(name):
  return our_config(CASES[name])


@pytest.fixture(scope='module')
def theirs(name, config, tmp_path_factory):
  """Their model, which reads what we export as it reads what it has saved."""
  pytest.importorskip('torch', reason='the hf extra is not installed')
  transformers = pytest.importorskip('transformers')
  numpy_files = pytest.importorskip('safetensors.numpy')
  folder = tmp_path_factory.mktemp('theirs')
  family = CASES[name]['model_type']
  tree = to_theirs(family, config)
  (folder / 'config.json').write_text(json.dumps(tree))
  rules = hf.rules(family, config)
  tensors = dict(hf.export_params(rules, config, params_of(config)))
  numpy_files.save_file(
    tensors, folder / 'model.safetensors', metadata={'format': 'pt'}
  )
  (class_name,) = tree['architectures']
  model, told = getattr(transformers, class_name).from_pretrained(
    folder, output_loading_info=True
  )
  assert not any(told.values()), told
  return model.eval()


def _their_numbers(model, text, source):
  import torch

  tokens = torch.tensor(text[None])
  with torch.no_grad():
    if source is None:
      out = model(input_ids=tokens)
    else:
      source = torch.tensor(source[None])
      out = model(input_ids=source, decoder_input_ids=tokens)
  found = out.logits if 'logits' in out else out.last_hidden_state
  return np.atleast_2d(found[0].numpy())


@pytest.mark.hf
@pytest.mark.parametrize('lengths', LENGTHS.values(), ids=LENGTHS)
def test_numbers_are_theirs(name, config, theirs, lengths, request):
  expected = np.concatenate(
    [
      _their_numbers(theirs, *pair)
      for pair in zip(*documents(config, lengths), strict=True)
    ]
  )
  found = our_numbers(config, lengths)
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
  if lengths == LENGTHS['packed'] and request.config.getoption('write_golden'):
    _write_golden(name, expected[:, :3].round(5).tolist())


@pytest.mark.hf
@pytest.mark.parametrize('name', ['bert'], indirect=True, scope='module')
def test_pooled_states_are_theirs(theirs, config):
  import torch

  (text,), _ = documents(config, (23,))
  with torch.no_grad():
    expected = theirs(input_ids=torch.tensor(text[None])).pooler_output
  tree = {'params': hf.by_tree(params_of(config))}
  found = make(config).apply(tree, *packed([text], 32))
  np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-4)


def test_numbers_are_those_that_pytorch_found(name, config):
  golden = json.loads(GOLDEN.read_text())[name]
  found = our_numbers(config, LENGTHS['packed'])[:, :3]
  np.testing.assert_allclose(found, golden, rtol=1e-4, atol=1e-4)


WRITERS = [name for name in CASES if not name.startswith('bert')]
MOST = 9  # tokens of a text


def _beginnings(config):
  """Prompts of several lengths; an encoder-decoder's are one token each."""
  random = np.random.default_rng(2)
  texts = [random.integers(8, VOCAB, length) for length in (5, 3, 6)]
  if config.architecture == 'decoder':
    return texts, [np.zeros(0, int)] * 3
  return [np.zeros(1, int)] * 3, texts


def _in_rows(texts, left):
  """Tokens and 1 for each, padded on one side."""
  length = max(map(len, texts))
  rows = np.zeros((2, len(texts), length), np.int32)
  for row, text in enumerate(texts):
    start = (length - len(text)) * left
    rows[:, row, start : start + len(text)] = text, np.ones(len(text))
  return rows


def _our_texts(config, num_beams, stop):
  """What we write after some prompts, up to and with the token that ends it."""
  texts, sources = _beginnings(config)
  rows = [*_in_rows(texts, left=True), *_in_rows(sources, left=False)]
  prompts = Prompts(*rows[: 2 if config.architecture == 'decoder' else 4])
  params = hf.by_tree(params_of(config))
  own = {'model': make(config), 'room': MOST}

  @jax.jit
  def written(params, prompts):
    if num_beams == 1:
      choice = Choice(Sampling(temperature=0.0), stop, VOCAB)
      keys = jax.random.split(jax.random.key(0), 3)
      now = generate.start(params, prompts, keys, choice, **own)
      now = generate.go_on(params, now, choice, MOST, model=own['model'])
      return now.tokens_BxT
    ranking = Ranking(0.7, stop, VOCAB, MOST)
    found = beam.start(params, prompts, ranking, num_beams=num_beams, **own)
    found = beam.go_on(params, found, ranking, model=own['model'])
    return found.done_tokens_BxWxT[:, 0]

  return [_ended(row, stop) for row in written(params, prompts)]


@functools.cache
def _stop(config):
  """A token that a text would have in the middle: it ends some."""
  return _our_texts(config, 1, stop=-1)[2][3]


def _ended(tokens, stop):
  tokens = np.asarray(tokens).tolist()
  return tokens[: tokens.index(stop) + 1] if stop in tokens else tokens


@pytest.mark.hf
@pytest.mark.parametrize('num_beams', [1, 4])
@pytest.mark.parametrize('name', WRITERS, indirect=True, scope='module')
def test_texts_are_theirs(name, config, theirs, num_beams, request):
  import torch

  texts, sources = _beginnings(config)
  read = texts if config.architecture == 'decoder' else sources
  tokens, mask = map(
    torch.tensor, _in_rows(read, left=config.architecture == 'decoder')
  )
  found = theirs.generate(
    input_ids=tokens.long(),
    attention_mask=mask.long(),
    max_new_tokens=MOST,
    num_beams=num_beams,
    length_penalty=0.7,
    do_sample=False,
    eos_token_id=_stop(config),
    pad_token_id=0,
    decoder_start_token_id=0,
  )
  skipped = tokens.shape[1] if config.architecture == 'decoder' else 1
  expected = [_ended(row[skipped:], _stop(config)) for row in found]
  # What is written after the end is padding, which is no token of theirs.
  ours = _our_texts(config, num_beams, _stop(config))
  assert [row + [0] * (MOST - len(row)) for row in ours] == [
    row + [0] * (MOST - len(row)) for row in expected
  ]
  if request.config.getoption('write_golden'):
    _write_golden(f'{name} beams {num_beams}', ours)


@pytest.mark.parametrize('num_beams', [1, 4])
@pytest.mark.parametrize(
  'name', ['gpt2', 'llama', 't5'], indirect=True, scope='module'
)
def test_texts_are_those_that_pytorch_found(name, config, num_beams):
  golden = json.loads(GOLDEN.read_text())[f'{name} beams {num_beams}']
  assert _our_texts(config, num_beams, _stop(config)) == golden


def _write_golden(name, value):
  known = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
  known[name] = value
  lines = ',\n'.join(f'"{k}": {json.dumps(v)}' for k, v in known.items())
  GOLDEN.write_text('{\n' + lines + '\n}\n')


def test_what_is_exported_is_imported_again(name, config):
  family, params = CASES[name]['model_type'], params_of(config)
  rules = hf.rules(family, config)
  tensors = dict(hf.export_params(rules, config, params))
  again = {path: np.empty_like(array) for path, array in params.items()}
  hf.import_into(again, rules, config, tensors.__getitem__)
  expected = hf.shapes_of_theirs(rules, config, shapes_of(config))
  assert expected == {name: array.shape for name, array in tensors.items()}
  assert again.keys() == params.keys()
  for path, array in params.items():
    np.testing.assert_array_equal(again[path], array, err_msg=path)


def test_the_config_comes_back(name, config):
  assert family_of(config) == CASES[name]['model_type']
  assert our_config(to_theirs(family_of(config), config)) == config


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'model_type': 'mamba'}, "model_type = 'mamba': choose from gpt2"),
    ({'hidden_act': 'quick_gelu'}, "hidden_act = 'quick_gelu' of config.json"),
    ({'attention_bias': True}, 'attention_bias = True of config.json'),
    ({'rope_scaling': {'rope_type': 'yarn'}}, "rope_type = 'yarn'"),
  ],
)
def test_variants_that_are_not_ours(changes, message):
  with pytest.raises(UserError, match=message):
    from_theirs(LLAMA | changes)
  keys = {k: v for k, v in LLAMA.items() if k != 'hidden_size'}
  with pytest.raises(UserError, match=r'config\.json has no hidden_size'):
    from_theirs(keys)


def test_a_model_that_is_none_of_theirs():
  config = our_config(LLAMA | {'num_key_value_heads': 2})
  with pytest.raises(UserError, match=r'llama: model\.qk_norm = True'):
    family_of(dataclasses.replace(config, qk_norm=True))
  with pytest.raises(UserError, match=r'llama: model\.num_experts = 4'):
    family_of(dataclasses.replace(config, num_experts=4))
  bert = our_config(BERT)
  with pytest.raises(UserError, match=r'bert: model\.token_types = 0'):
    family_of(dataclasses.replace(bert, token_types=0))


def test_a_bert_of_classes_need_not_name_them():
  theirs = BERT | {'architectures': ['BertForSequenceClassification']}
  assert our_config(theirs).num_classes == 2
  config = our_config(theirs | {'num_labels': 5})
  assert (config.num_classes, config.pooler) == (5, True)
  assert our_config(BERT | {'num_labels': 5}).num_classes == 0
  with pytest.raises(UserError, match='mlm_head = True: a bert has one of'):
    to_theirs('bert', dataclasses.replace(config, mlm_head=True))


def test_early_t5_configs_leave_keys_out():
  early = dict(T5)
  del early['feed_forward_proj'], early['relative_attention_max_distance']
  assert our_config(early).activation == 'relu'
  assert our_config(early).relative_max_distance == 128


def _class_of(size):
  """An instance without numbers, of what the weights were published as."""
  import torch
  import transformers

  config = to_dataclass(ModelConfig, pretrain.get_config(size).model, 'model.')
  with torch.device('meta'):
    if size == 'gpt1':
      return transformers.OpenAIGPTLMHeadModel(transformers.OpenAIGPTConfig())
    if size.startswith('mixtral'):
      return transformers.MixtralForCausalLM(transformers.MixtralConfig())
    tree = to_theirs(family_of(config), config)
    (name,) = tree['architectures']
    model = getattr(transformers, name)(
      transformers.AutoConfig.for_model(**tree)
    )
    if size.startswith('t5') and not config.tied_head:
      shape = config.vocab_size, config.width
      model.lm_head.weight = torch.nn.Parameter(torch.empty(shape))
    return model


@pytest.mark.hf
@pytest.mark.parametrize(
  'size',
  [
    s
    for s in SIZES
    if not s.startswith(('nest', 'pocket', 'gpt3', 'chinchilla'))
  ],
)
def test_published_sizes_have_as_many_elements_as_their_class(size):
  pytest.importorskip('transformers')
  theirs = sum(p.numel() for p in _class_of(size).parameters())
  config = to_dataclass(ModelConfig, pretrain.get_config(size).model, 'model.')
  assert count_parameters(config).total == theirs
