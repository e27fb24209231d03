"""Kernels of attention: equal to XLA where they run, told where they do not."""

import contextlib
import dataclasses
import functools
import logging
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import AbstractDevice, AbstractMesh

from configs import model as base
from configs.errors import UserError
from configs.tree import to_dataclass
from model import kernels, masks, splash
from model.attention import KeysValues, attention_weights
from model.config import ModelConfig
from model.masks import Mask
from model.transformer import Decoder
from train.mesh import sharding
from train.mesh.config import MeshConfig

BATCH, HEADS, KV_HEADS, WIDTH = 2, 4, 2, 8


def _segments(length):
  """Two rows of packed documents; the first row ends in padding, of id 0."""
  cuts = np.linspace(0, length, 4).astype(int)[1:-1]
  first, second = (np.searchsorted(cuts, np.arange(length), 'right'),) * 2
  first = np.where(np.arange(length) < length - 3, first + 1, 0)
  return jnp.array([first, second // 2 + 1], jnp.int32)


def _arrays(length, source=None, dtype=jnp.float32):
  """Queries, keys and values."""
  random = np.random.default_rng(0)
  places = (length, HEADS), *[(source or length, KV_HEADS)] * 2
  return [
    jnp.asarray(random.normal(size=(BATCH, *shape, WIDTH)), dtype)
    for shape in places
  ]


def _bias(length, rows):
  shape = rows, HEADS, length, length
  drawn = np.random.default_rng(1).normal(size=shape)
  return jnp.asarray(drawn, jnp.float32) if rows else None


def _by_xla(q, k, v, mask, bias=None, *, scale, cap=0.0):
  weights = attention_weights(q, [k], mask.dense(), bias, scale=scale, cap=cap)
  out = jnp.einsum('bkgls,bskd->blkgd', weights, v)
  return out.reshape(q.shape)


def _with_gradient(attention, arrays, mask, bias=None, **kwargs):
  """The output, and gradients of q, k, v and of the bias if there is one.

  A query whose segment has no key counts for nothing.
  """
  sees = mask.dense().any(-1)[..., None, None]

  def loss(*learned):
    out = attention(*learned[:3], mask, *learned[3:], **kwargs)
    places = jnp.cos(jnp.arange(out.size).reshape(out.shape))
    return jnp.sum(jnp.sin(out) * places * sees), out

  learned = (*arrays, bias) if bias is not None else tuple(arrays)
  gradient = jax.grad(loss, tuple(range(len(learned))), has_aux=True)
  gradients, out = jax.jit(gradient)(*learned)
  assert jnp.isfinite(out).all()
  return gradients, out * sees


def _assert_equal(found, expected):
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5),
    found,
    expected,
  )


# 200 places are padded to two blocks of 128; 256 are two as they are.
SELF = [(200, True, 0.0), (256, False, 2.0)]


@pytest.mark.parametrize(('length', 'causal', 'cap'), SELF)
def test_splash_is_attention(monkeypatch, length, causal, cap):
  monkeypatch.setattr(splash, 'LARGEST', 128)
  make = masks.causal if causal else masks.within
  args = _arrays(length), make(_segments(length))
  interpreted = functools.partial(splash.splash, interpret=True)
  found = _with_gradient(interpreted, *args, scale=0.3, cap=cap)
  _assert_equal(found, _with_gradient(_by_xla, *args, scale=0.3, cap=cap))


def test_splash_reads_another_sequence():
  """The last queries find nothing there, and stay finite."""
  mask = Mask(_segments(130).at[:, -2:].set(7), _segments(300))
  args = _arrays(130, 300), mask
  interpreted = functools.partial(splash.splash, interpret=True)
  found = _with_gradient(interpreted, *args, scale=0.3)
  _assert_equal(found, _with_gradient(_by_xla, *args, scale=0.3))


def test_splash_in_bfloat16_is_as_near_as_xla():
  mask = masks.causal(_segments(128))
  exact = _by_xla(*_arrays(128), mask, scale=0.3)
  rounded = _arrays(128, dtype=jnp.bfloat16)
  attend = functools.partial(splash.splash, scale=0.3, interpret=True)
  found = jax.jit(attend)(*rounded, mask)
  assert found.dtype == jnp.bfloat16
  error = jnp.linalg.norm(found - exact) / jnp.linalg.norm(exact)
  assert 0 < error < 0.01


@pytest.mark.parametrize(
  ('causal', 'prefix', 'bias_rows'),
  [(True, False, 0), (True, True, 1), (False, False, BATCH)],
)
def test_what_cudnn_is_handed_is_attention(causal, prefix, bias_rows):
  length = 12
  segments = _segments(length)
  mask = masks.within(segments)
  if causal:
    first = jnp.broadcast_to(jnp.arange(length) < 3, segments.shape)
    mask = masks.causal(segments, first if prefix else None)
  args = _arrays(length), mask, _bias(length, bias_rows)
  handed = functools.partial(kernels.cudnn, implementation='xla')
  found = _with_gradient(handed, *args, scale=0.3)
  _assert_equal(found, _with_gradient(_by_xla, *args, scale=0.3))


def test_cudnn_lowers_to_its_kernels(monkeypatch):
  """The version alone is asked of a cuDNN, which is not there."""
  module = pytest.importorskip('jax._src.cudnn.fused_attention_stablehlo')
  monkeypatch.setattr(module, 'check_cudnn_version', lambda: 91100)
  q, k, v = _arrays(16, dtype=jnp.bfloat16)
  mask = masks.causal(_segments(16))

  def loss(q, k, v):
    return kernels.cudnn(q, k, v, mask, scale=0.3).astype(jnp.float32).sum()

  traced = jax.jit(jax.grad(loss, (0, 1, 2))).trace(q, k, v)
  text = traced.lower(lowering_platforms=('cuda',)).as_text()
  for call in ('ScaleBiasSoftmax', 'ScaleBiasSoftmaxBackward'):
    assert f'__cudnn$fmha{call}(' in text
  assert 'CAUSAL' in text


def _call(length=128, source=None, dtype=jnp.float32, **changes):
  q, k, v = _arrays(length, source, dtype)
  segments = _segments(length), _segments(source or length)
  call = kernels.Call(
    q, (KeysValues(k, v),), Mask(*segments), None, 1, 0, False
  )
  return call._replace(**changes)


def _prefix(length=128):
  segments = _segments(length)
  return masks.causal(segments, segments > 0)


def _bfloat16(**changes):
  return _call(dtype=jnp.bfloat16, **changes)


IN_THE_WAY = [
  ('splash', 'cpu', _call(), 'the platform is cpu, not tpu'),
  ('cudnn', 'tpu', _call(), 'the platform is tpu, not gpu'),
  ('splash', 'tpu', _call(length=127), 'shorter than a block of 128'),
  ('splash', 'tpu', _call(source=4), 'shorter than a block of 128'),
  ('splash', 'tpu', _call(bias_BxHxLxS=jnp.ones(4)), 'no bias'),
  ('splash', 'tpu', _call(mask=_prefix()), 'no prefix'),
  ('splash', 'tpu', _call(drops=True), r'no attention weights.*model\.dropout'),
  ('splash', 'tpu', _call(parts=_call().parts * 2), 'earlier tokens'),
  (
    'splash',
    'tpu',
    _call(source=130, mask=Mask(_segments(128), _segments(130), True)),
    'earlier tokens',
  ),
  ('cudnn', 'gpu', _call(), 'in bfloat16, not in float32'),
  ('cudnn', 'gpu', _bfloat16(cap=30.0), r'no model\.attention_softcap'),
  ('cudnn', 'gpu', _bfloat16(length=13), 'odd number'),
  ('cudnn', 'gpu', _bfloat16(drops=True), 'no attention weights'),
]


@pytest.fixture
def log(caplog):
  """The log of a process that has told nothing yet."""
  kernels._tell.cache_clear()
  caplog.set_level(logging.INFO, 'model.kernels')
  yield caplog
  kernels._tell.cache_clear()


@pytest.mark.parametrize(('kernel', 'platform', 'call', 'why'), IN_THE_WAY)
def test_what_a_kernel_cannot_do_is_told_once(
  monkeypatch, log, kernel, platform, call, why
):
  monkeypatch.setattr(kernels, 'platform', lambda: platform)
  monkeypatch.setattr(kernels, '_compute_capability', lambda: 9.0)
  assert kernels.attend(kernel, call) is None
  assert kernels.attend(kernel, call) is None
  [record] = log.records
  assert record.levelno == logging.WARNING
  expected = f'attention by xla instead of {kernel}: .*{why}'
  assert re.search(expected, record.message)


@pytest.mark.parametrize(
  ('capability', 'width', 'why'),
  [
    (7.5, 64, r'compute capability 8\.0'),
    (0.0, 64, r'compute capability 8\.0'),
    (8.0, 136, r'model\.head_width = 136 .* up to 128'),
    (9.0, 264, r'model\.head_width = 264 .* up to 256'),
    (9.0, 12, r'model\.head_width = 12 is no multiple of 8'),
  ],
)
def test_a_gpu_that_cannot_is_told(monkeypatch, log, capability, width, why):
  monkeypatch.setattr(kernels, 'platform', lambda: 'gpu')
  monkeypatch.setattr(kernels, '_compute_capability', lambda: capability)
  q = jnp.ones((1, 2, 2, width), jnp.bfloat16)
  call = _call()._replace(q_BxLxHxDh=q, parts=(KeysValues(q, q),))
  assert kernels.attend('auto', call) is None
  assert re.search(why, log.records[0].message)
  assert log.records[0].levelno == logging.INFO


def test_no_gpu_has_no_compute_capability():
  assert kernels._compute_capability() == 0


@pytest.mark.parametrize('kind', ['TPU v2', 'TPU v3'])
def test_old_tpus_take_no_bfloat16(log, kind):
  device = AbstractDevice(device_kind=kind, num_cores=1, platform='tpu')
  mesh = AbstractMesh((1,), ('data',), abstract_device=device)
  with jax.sharding.use_abstract_mesh(mesh):
    assert kernels.attend('splash', _bfloat16()) is None
  assert 'no bfloat16' in log.text


def test_the_mesh_tells_the_platform_and_only_then_the_process():
  assert kernels.platform() == 'cpu'
  for platform in ('tpu', 'gpu'):
    device = AbstractDevice(device_kind='', num_cores=1, platform=platform)
    mesh = AbstractMesh((1,), ('data',), abstract_device=device)
    with jax.sharding.use_abstract_mesh(mesh):
      assert kernels.platform() == platform


@pytest.mark.parametrize('asked', ['auto', 'xla'])
def test_a_cpu_is_told_nothing(log, asked):
  assert kernels.attend(asked, _call()) is None
  assert not log.records


TINY = to_dataclass(
  ModelConfig,
  {
    **base.get_config(),
    'vocab_size': 61,
    'num_layers': 2,
    'width': 16,
    'num_heads': HEADS,
    'num_kv_heads': KV_HEADS,
    'head_width': 4,
    'ffn_width': 24,
  },
)


def test_an_implementation_that_is_none_is_refused():
  with pytest.raises(UserError, match=r"model\.attention = 'flash'.*splash"):
    dataclasses.replace(TINY, attention='flash').validate()


@pytest.fixture
def on_a_tpu(monkeypatch):
  """Splash as on a TPU, its operations computed one by one."""
  interpreted = kernels.KERNELS['splash']._replace(
    compute=functools.partial(splash.splash, interpret=True)
  )
  monkeypatch.setitem(kernels.KERNELS, 'splash', interpreted)
  monkeypatch.setattr(kernels, 'platform', lambda: 'tpu')


@functools.cache
def _params():
  token = jnp.zeros((1, 1), jnp.int32)
  return nn.unbox(
    jax.jit(Decoder(TINY).init)(jax.random.key(0), token, token, token)
  )


def _inputs(batch, length=128):
  segments = jnp.tile(_segments(length), (batch // BATCH, 1))
  tokens = jax.random.randint(jax.random.key(1), segments.shape, 0, 61)
  positions = jnp.broadcast_to(jnp.arange(length), segments.shape)
  return tokens, segments, positions


def _loss_and_gradient(length=128, **changes):
  """Of a model."""
  config, inputs = dataclasses.replace(TINY, **changes), _inputs(8, length)

  def loss(params):
    return jnp.sin(Decoder(config).apply(params, *inputs)).mean()

  return jax.jit(jax.value_and_grad(loss))(_params())


@functools.cache
def _by_xla_alone():
  return _loss_and_gradient(attention='xla')


@contextlib.contextmanager
def _on_mesh(*shape):
  """As on a mesh (data, fsdp, tensor, expert, sequence)."""
  devices = jax.devices()[: math.prod(shape)]
  mesh = sharding.make_mesh(MeshConfig(*shape), devices)
  with jax.set_mesh(mesh), sharding.logical_rules():
    yield


def test_a_model_learns_by_splash_what_it_does_by_xla(on_a_tpu, log):
  found = _loss_and_gradient(scan_layers=True, remat='full')
  assert not log.records
  _assert_equal(found, _by_xla_alone())


def test_a_model_learns_the_same_by_splash_on_a_mesh(on_a_tpu, log):
  with _on_mesh(2, 2, 2):
    found = _loss_and_gradient(remat='dots')
  assert not log.records
  _assert_equal(found, _by_xla_alone())


@pytest.mark.parametrize('bias_rows', [0, 1, BATCH])
def test_each_device_computes_its_rows_and_heads(monkeypatch, bias_rows):
  local = []

  def compute(q, *args, cap, **kwargs):
    local.append(q.shape)
    return _by_xla(q, *args, cap=cap, **kwargs)

  kernel = kernels.Kernel(compute, lambda call: '')
  monkeypatch.setitem(kernels.KERNELS, 'cudnn', kernel)

  def attend(q, k, v, mask, bias=None, *, scale):
    parts = (KeysValues(k, v),)
    call = kernels.Call(q, parts, mask, bias, scale, 0.0, False)
    return kernels.attend('cudnn', call)

  args = _arrays(8), masks.causal(_segments(8)), _bias(8, bias_rows)
  with _on_mesh(2, 1, 2):
    found = _with_gradient(attend, *args, scale=0.3)
  assert set(local) == {(BATCH // 2, 8, HEADS // 2, WIDTH)}
  _assert_equal(found, _with_gradient(_by_xla, *args, scale=0.3))


def test_what_does_not_divide_over_the_mesh_is_told(on_a_tpu, log):
  with _on_mesh(4, 1, 2):
    assert kernels.attend('splash', _call()) is None
  assert 'a batch axis of 2 does not divide' in log.text


@pytest.mark.parametrize(
  ('kernel', 'platform', 'call', 'why'),
  [
    ('cudnn', 'gpu', _bfloat16(length=256), 'the mesh divides sequences'),
    ('splash', 'tpu', _call(), 'one of 2 parts of a sequence is shorter'),
    (
      'splash',
      'tpu',
      _call(length=300)._replace(mask=masks.causal(_segments(300))),
      'each of 2 parts of a sequence has 150 tokens, and a block 128',
    ),
  ],
)
def test_sequences_that_a_kernel_cannot_divide_are_told(
  monkeypatch, log, kernel, platform, call, why
):
  monkeypatch.setattr(kernels, 'platform', lambda: platform)
  monkeypatch.setattr(kernels, '_compute_capability', lambda: 9.0)
  with _on_mesh(1, 1, 1, 1, 2):
    assert kernels.attend(kernel, call) is None
  assert why in log.text


# Queries of 4 parts: 2 blocks each for all keys; or a padded one for some.
@pytest.mark.parametrize(
  ('length', 'source', 'causal'),
  [(512, 512, True), (512, 512, False), (520, 300, False)],
)
def test_devices_with_a_part_of_a_sequence_read_all_of_it(
  on_a_tpu, monkeypatch, log, length, source, causal
):
  monkeypatch.setattr(splash, 'LARGEST', 128)
  mask = Mask(_segments(length), _segments(source), causal)

  def attend(q, k, v, mask, *, scale):
    parts = (KeysValues(k, v),)
    call = kernels.Call(q, parts, mask, None, scale, 2.0, False)
    return kernels.attend('splash', call)

  args = _arrays(length, source), mask
  with _on_mesh(1, 1, 2, 1, 4):
    found = _with_gradient(attend, *args, scale=0.3)
  assert not log.records
  _assert_equal(found, _with_gradient(_by_xla, *args, scale=0.3, cap=2.0))


def test_a_model_learns_by_splash_of_divided_sequences(on_a_tpu, log):
  found = []
  for attention in ('splash', 'xla'):
    with _on_mesh(2, 1, 1, 1, 2):
      found.append(_loss_and_gradient(256, attention=attention, remat='full'))
  assert not log.records
  _assert_equal(*found)
  _assert_equal(found[1], _loss_and_gradient(256, attention='xla'))
