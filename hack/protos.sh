#!/usr/bin/env bash
# Regenerates the committed protobuf stubs. grpcio-tools is pinned to 1.62.3 (gencode 4.25) on purpose: its stubs load on
# protobuf 4.25 to 7.x and on every grpcio since 1.62, so `ringyard[local]` and `tritonclient[grpc]` share an environment.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-.cache/protos/bin/python}
BIN=$(dirname "$PYTHON")
generate() { # root, proto below it
  PATH="$BIN:$PATH" "$PYTHON" -m grpc_tools.protoc -I "$1" --python_out="$1" --grpc_python_out="$1" \
    --mypy_out=quiet:"$1" --mypy_grpc_out=quiet:"$1" "$1/$2"
}
generate api ringyard_api/protos/coordinator.proto
generate api ringyard_api/protos/server_control.proto
generate api ringyard_api/protos/inference.proto
generate trainer ringyard_trainer/protos/collective.proto
# `inference.*` is also registered by tritonclient, kserve and mlserver: ours lives in a pool of its own.
sed -i 's/_descriptor_pool\.Default()/_descriptor_pool.DescriptorPool()/' api/ringyard_api/protos/inference_pb2.py
