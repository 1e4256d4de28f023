"""Generated protobuf stubs: `make protos` writes them, nobody edits them."""
