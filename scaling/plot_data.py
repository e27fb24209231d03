"""Figures as data: axes and layers of arrays, for any renderer to draw."""

import dataclasses

import numpy as np

# Okabe and Ito's palette, told apart by colour-blind readers; markers and
# dashes tell the series apart without any colour.
COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#56B4E9', '#E69F00')
MARKERS = (
  'circle',
  'square',
  'triangle-up',
  'diamond',
  'triangle-down',
  'cross',
  'x',
  'triangle-left',
  'triangle-right',
)
DASHES = ('solid', 'dash', 'dashdot', 'dot')
CROWD = 60  # points of a figure, from which markers are small


@dataclasses.dataclass(frozen=True)
class Style:
  """How one layer looks, in words that renderers translate."""

  colour: str  # '#rrggbb'
  marker: str = 'circle'  # of MARKERS, or star
  dash: str = 'solid'  # of DASHES
  filled: bool = True  # or an outline
  strong: bool = False  # a single point that shall be seen among many


def series(index: int) -> Style:
  """The style of one of several series, in their order."""
  return Style(
    COLOURS[index % len(COLOURS)],
    MARKERS[index % len(MARKERS)],
    DASHES[index % len(DASHES)],
  )


def number(value: float, digits: int = 5) -> str:
  """Short, with a power of ten where that is shorter: 0.37, 1200, 1.5e18."""
  text = f'{value:.{digits}g}'.replace('-', '−')
  mantissa, _, power = text.partition('e')
  sign = '−' if power.startswith('−') else ''
  power = power.lstrip('+−0')
  return f'{mantissa}e{sign}{power}' if power else mantissa


LAW = Style('#000000')
SHADE = Style('#d9d9d9')
REFERENCE = Style('#666666', dash='dot')
FORECAST = Style('#000000', 'diamond', filled=False, strong=True)
TRUTH = Style('#D55E00', 'star', strong=True)


@dataclasses.dataclass(frozen=True)
class Axis:
  """One axis: what it shows, and how."""

  label: str
  scale: str = 'linear'  # or 'log'
  reversed: bool = False  # falls to the right


@dataclasses.dataclass(frozen=True, eq=False)
class Markers:
  """Points, `x` and `y` of shape [M]; an empty label is in no legend."""

  x: np.ndarray
  y: np.ndarray
  label: str
  style: Style
  notes: tuple[str, ...] = ()  # a line of text each, where it can be asked for


@dataclasses.dataclass(frozen=True, eq=False)
class Line:
  """A line through points in their order, `x` and `y` of shape [M]."""

  x: np.ndarray
  y: np.ndarray
  label: str
  style: Style


@dataclasses.dataclass(frozen=True, eq=False)
class Band:
  """The area between two curves, all of shape [M]."""

  x: np.ndarray
  lower: np.ndarray
  upper: np.ndarray
  label: str
  style: Style


@dataclasses.dataclass(frozen=True, eq=False)
class Bars:
  """Points with an interval of y each, all of shape [M]."""

  x: np.ndarray
  y: np.ndarray
  lower: np.ndarray
  upper: np.ndarray
  label: str
  style: Style
  notes: tuple[str, ...] = ()

  @property
  def reach(self) -> np.ndarray:
    """How far the bars reach below and above y, [2, M].

    An interval of percentiles need not hold the value that it belongs to.
    """
    return np.maximum([self.y - self.lower, self.upper - self.y], 0)


@dataclasses.dataclass(frozen=True)
class Rule:
  """A straight line across the figure where an axis has one value."""

  axis: str  # 'x' or 'y'
  at: float
  label: str
  style: Style = REFERENCE


Layer = Markers | Line | Band | Bars | Rule


@dataclasses.dataclass(frozen=True, eq=False)
class Figure:
  """Layers on two axes, the first at the bottom."""

  x: Axis
  y: Axis
  layers: tuple[Layer, ...]
  title: str = ''
  height: float = 1.0  # in terms of the usual one

  @property
  def crowded(self) -> bool:
    """Whether it has so many points that they shall be small."""
    shown = [one for one in self.layers if isinstance(one, Markers | Bars)]
    return sum(len(one.x) for one in shown) >= CROWD
