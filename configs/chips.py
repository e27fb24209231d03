"""Accelerators: what one chip computes, holds, draws and costs. Plain data.

Peaks and memory are those of Google's Cloud TPU documentation (pages v4, v5e,
v5p and v6e) and of NVIDIA's data sheets (A100, H100, H200, L4, HGX B200, DGX
B200): dense bf16, without sparsity.

Watts are the chip alone. Google publishes them for v4 only, the mean it
measured (the most was 192 W); for v5e, v5p and v6e they are estimates of
others, v5e's from v6e's by Google's own words that v6e computes 4.7 times as
much at 1.67 times the efficiency. For GPUs it is the board's power limit.

Prices are lists on demand in the United States, by the chip, as of November
2026: of Google Cloud for TPUs, and of Amazon EC2 in us-east-1 for GPUs, a
chip's share of p4d, p4de, p5, p5en and p6-b200, and a g6.xlarge for L4.
Others ask .4 to 1.8 times as much; commitments and spot cost less.
"""

from typing import NamedTuple


class Chip(NamedTuple):
  """One accelerator."""

  peak_flops: float  # dense bf16 FLOPs a second
  memory_bytes: float  # as sold, GB of 1e9
  watts: float
  watts_published: bool  # False: an estimate of others than the maker
  usd_per_hour: float


CHIPS: dict[str, Chip] = {
  'tpu-v4': Chip(275e12, 32e9, 170, True, 3.22),
  'tpu-v5e': Chip(197e12, 16e9, 135, False, 1.20),
  'tpu-v5p': Chip(459e12, 95e9, 540, False, 4.20),
  'tpu-v6e': Chip(918e12, 32e9, 380, False, 2.70),
  'a100-40gb': Chip(312e12, 40e9, 400, True, 2.74),
  'a100-80gb': Chip(312e12, 80e9, 400, True, 3.43),
  'h100': Chip(989e12, 80e9, 700, True, 6.88),  # SXM
  'h200': Chip(989e12, 141e9, 700, True, 7.91),  # SXM
  'b200': Chip(2250e12, 180e9, 1000, True, 14.24),  # HGX
  'l4': Chip(121e12, 24e9, 72, True, 0.80),
}

# Model FLOPs over peak, where nothing was measured: PaLM 540B reached .46 on
# TPU v4 (Chowdhery et al. 2022, arXiv:2204.02311), Llama 3 405B .38 to .43 on
# H100 (Grattafiori et al. 2024, arXiv:2407.21783). Small models reach less.
MFU = 0.4


class Tpu(NamedTuple):
  """What the compiler for one kind of TPU and a topology of it need to know.

  Bandwidths are one way, as published for both ways by halves: HBM and links
  between chips in Google's Cloud TPU documentation (pages v4, v5e, v5p, v6e),
  and there the data-center network of v5e, v5p and v6e. v4's is taken to be
  v5e's.

  Clocks follow from the peaks: two FLOPs a cycle from each cell of the matrix
  units, 8 units of 128 x 128 cells in v4 and v5p, 4 in v5e, 4 of 256 x 256 in
  v6e.
  """

  chip: str  # of CHIPS
  hbm_bytes: float  # what libtpu leaves to a program
  hbm_bytes_per_second: float
  axes: int  # of the torus
  wraps: int  # a side is a ring where it is a multiple of this
  link_bytes_per_second: float  # to a neighbour; two neighbours an axis
  network_bytes_per_second: float  # of a chip, between slices
  clock_hertz: float
  most_chips: int  # of a slice


TPUS: dict[str, Tpu] = {
  'v4': Tpu(
    'tpu-v4', 30.75 * 2**30, 1.228e12, 3, 4, 50e9, 3.125e9, 1.05e9, 4096
  ),
  'v5e': Tpu(
    'tpu-v5e', 15.75 * 2**30, 0.819e12, 2, 16, 50e9, 3.125e9, 1.5e9, 256
  ),
  'v5p': Tpu(
    'tpu-v5p', 95.74 * 2**30, 2.765e12, 3, 4, 100e9, 6.25e9, 1.75e9, 8960
  ),
  'v6e': Tpu(
    'tpu-v6e', 31.25 * 2**30, 1.638e12, 2, 16, 100e9, 12.5e9, 1.75e9, 256
  ),
}
