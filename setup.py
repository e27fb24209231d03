"""Package metadata; tool settings live in pyproject.toml."""

import setuptools

CORE = [
  'absl-py',
  'flax>=0.12,<0.14',
  'grain>=0.2.18',
  'importlib_resources',  # TFDS imports it without declaring it
  'jax>=0.10,<0.14',
  'jinja2>=3.1',
  'matplotlib>=3.9',
  'ml-collections>=1.1',
  'numpy>=2.0',
  'optax>=0.2.8',
  'orbax-checkpoint>=0.12.8',
  'scipy>=1.13',
  'tensorboardX>=2.6',
  'tensorflow-datasets>=4.9.10',
  'tokenizers>=0.22',
  'tqdm>=4.66',
]

# Their text is no part of the corpus. The first comes with Orbax, whose arrays
# it stores; the second fits laws.
UNREAD = ['tensorstore', 'optimistix>=0.0.11']

EXTRAS = {
  'test': [
    'import-linter>=2.3',
    'ipykernel>=6',
    'mypy>=1.15',
    'nbclient>=0.10',
    'nbformat>=5',
    'pandas>=2.2',
    'plotly>=6',
    'pytest>=8',
    'pytest-xdist>=3.6',
    'ruff>=0.12',
    'safetensors>=0.5',
  ],
  'cuda': ['jax[cuda12]'],
  'tpu': ['jax[tpu]'],
  'tf': ['tensorflow'],
  'hf': ['accelerate', 'gguf', 'safetensors', 'torch', 'transformers'],
  'lm_eval': ['lm-eval>=0.4.13'],
  'ray': ['ray'],
  'slurm': ['submitit'],
  'energy': ['codecarbon'],
  'plotly': ['plotly>=6'],
  'wandb': ['wandb'],
  'colab': ['ipykernel', 'ipywidgets'],
}

setuptools.setup(
  name='scalenest',
  version='0.1.0',
  description='How does pre-training scale become downstream ability?',
  license='Apache-2.0',
  python_requires='>=3.11',
  packages=[
    'configs',
    'data',
    'evals',
    'finetune',
    'model',
    'scaling',
    'scaling.laws',
    'study',
    'train',
  ],
  package_data={'study': ['*.jinja']},
  install_requires=CORE + UNREAD,
  extras_require=EXTRAS,
)
