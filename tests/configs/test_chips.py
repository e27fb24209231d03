"""Chips and grids are data that make sense."""

import math

import pytest

from configs.chips import CHIPS, MFU
from configs.grids import GRAMS_PER_KWH, PUE


@pytest.mark.parametrize(
  ('name', 'pod', 'petaflops'),
  # Peak of whole machines, from other pages than those of the chips: a v5e pod
  # and a v6e pod of 256 (Cloud TPU documentation), a v4 pod of 4,096 (Jouppi et
  # al. 2023, arXiv:2304.01433, 1.1 exaflops), a DGX A100 of 8 (5 petaflops with
  # sparsity), a DGX B200 of 8 (72 with sparsity, fp8).
  [
    ('tpu-v5e', 256, 50.63),
    ('tpu-v6e', 256, 234.9),
    ('tpu-v4', 4096, 1126.4),
    ('a100-80gb', 8, 2.5),
    ('b200', 8, 18.0),
  ],
)
def test_peaks_are_those_of_whole_machines(name, pod, petaflops):
  peak = pod * CHIPS[name].peak_flops / 1e15
  assert peak == pytest.approx(petaflops, rel=0.005)


def test_every_number_is_one():
  for chip in CHIPS.values():
    for size in (chip.peak_flops, chip.memory_bytes, chip.watts):
      assert 0 < size < math.inf
    # What a dollar buys differs less than what a chip computes.
    assert 3e17 < chip.peak_flops * 3600 / chip.usd_per_hour < 2e18
    # Accelerators of these years make .7 to 3 TFLOPs of a watt.
    assert 0.7e12 < chip.peak_flops / chip.watts < 3e12
  assert 0 < MFU < 1


def test_v6e_is_as_efficient_as_its_maker_says():
  """67% more than v5e: Google Cloud's announcement of Trillium, May 2024."""
  v5e, v6e = (
    CHIPS[name].peak_flops / CHIPS[name].watts
    for name in ('tpu-v5e', 'tpu-v6e')
  )
  assert v6e / v5e == pytest.approx(1.67, rel=0.02)


def test_grids_lie_between_hydropower_and_coal():
  assert all(20 < grams < 1000 for grams in GRAMS_PER_KWH.values())
  assert 1 <= PUE < 2
