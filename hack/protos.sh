#!/usr/bin/env bash
# Regenerates the committed protobuf stubs (`make protos`; OUT=folder writes elsewhere, for `make verify`). grpcio-tools is
# pinned to 1.62.3 (gencode 4.25) on purpose: its stubs load on protobuf 4.25 to 7.x and on every grpcio since 1.62, so
# `ringyard[local]` and `tritonclient[grpc]` share an environment. It has no wheel for Python 3.13+, so uv brings a 3.11.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.cache/protos/bin/python}     # one that has grpc_tools
OUT=${OUT:-.}

if [ ! -x "$PYTHON" ]; then
  .venv/bin/uv venv -q --python '>=3.11,<3.13' .cache/protos
  .venv/bin/uv pip install -q --python .cache/protos/bin/python \
    grpcio-tools==1.62.3 mypy-protobuf==3.6.0 protobuf==4.25.9 'setuptools<81'
fi

generate() { # root, proto below it
  mkdir -p "$OUT/$1"
  PATH="$(dirname "$PYTHON"):$PATH" "$PYTHON" -m grpc_tools.protoc -I "$1" --python_out="$OUT/$1" \
    --grpc_python_out="$OUT/$1" --mypy_out=quiet:"$OUT/$1" --mypy_grpc_out=quiet:"$OUT/$1" "$1/$2"
}
generate api ringyard_api/protos/coordinator.proto
generate api ringyard_api/protos/server_control.proto
generate api ringyard_api/protos/inference.proto
generate trainer ringyard_trainer/protos/collective.proto
# `inference.*` is also registered by tritonclient, kserve and mlserver: ours lives in a pool of its own.
sed -i 's/_descriptor_pool\.Default()/_descriptor_pool.DescriptorPool()/' "$OUT/api/ringyard_api/protos/inference_pb2.py"
