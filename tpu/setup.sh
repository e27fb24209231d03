#!/bin/bash
# Installs into .venv on a Cloud TPU VM, whose image has Python 3.10.
set -e
if ! command -v python3.11 >/dev/null; then
  sudo add-apt-repository -y ppa:deadsnakes/ppa
  sudo apt-get install -y make python3.11-venv
fi
make PYTHON=python3.11 EXTRAS="${EXTRAS:-tpu,gcs}" install
