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

# Their text is no part of the corpus. Most come with a package of the core:
# etils and tensorstore with Orbax, the others but one with TFDS. The last fits
# laws.
UNREAD = [
  'array_record',
  'etils',
  'fsspec',
  'pyarrow',
  'requests',
  'tensorstore',
  'optimistix>=0.0.11',
]
AUDIT = [
  'detect-secrets>=1.5',
  'phonenumberslite>=9',
  'profanex>=1',
  'py3langid>=0.4',
  'python-stdnum>=2',
]

# Compiles for TPUs that are not there.
_TPU_HOST = 'sys_platform == "linux" and platform_machine == "x86_64"'
TPU = [f'jax[tpu]; {_TPU_HOST}', f'libtpu; {_TPU_HOST}']

EXTRAS = {
  'test': [
    *AUDIT,
    *TPU,
    'codecarbon>=3.3.2',
    'datasets>=4',
    'fastokens>=0.3.5',
    'hypothesis>=6.100',
    'import-linter>=2.3',
    'ipykernel>=6',
    'mypy>=1.15',
    'nbclient>=0.10',
    'nbformat>=5',
    'pandas>=2.2',
    'plotly>=6',
    'pytest>=8',
    'pytest-xdist>=3.6',
    'pyyaml>=6',
    'qwix>=0.1.8',
    'ruff>=0.12',
    'safetensors>=0.5',
    'sentencepiece>=0.2.3',
    'tiktoken>=0.12',
  ],
  'cuda': ['jax[cuda12]'],
  'tpu': TPU,
  'tf': ['tensorflow'],
  'hf': ['accelerate', 'gguf', 'safetensors', 'torch', 'transformers'],
  'audit': AUDIT,
  'fast': ['fastokens>=0.3.5'],  # encodes as the core does, and sooner
  'hf_datasets': ['datasets>=4', 'huggingface_hub'],
  'sentencepiece': ['sentencepiece>=0.2.3'],
  'lm_eval': ['lm-eval>=0.4.13'],
  'ray': ['ray'],
  'slurm': ['submitit'],
  'energy': ['codecarbon>=3.3.2'],
  'int8': ['qwix>=0.1.8'],
  'gcs': ['gcsfs>=2026.10'],
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
    'data.audit',
    'data.objectives',
    'evals',
    'finetune',
    'model',
    'scaling',
    'scaling.laws',
    'study',
    'train',
    'train.ahead',
    'train.foreign',
    'train.mesh',
    'train.processes',
    'train.storage',
  ],
  package_data={'data.audit': ['*.jinja'], 'study': ['*.jinja']},
  install_requires=CORE + UNREAD,
  extras_require=EXTRAS,
)
