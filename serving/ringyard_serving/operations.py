"""Which operations a program from the outside may call, decided by name: the fence around the interpreter.

An exported program names its operations as text, and a name is all an attacker needs: `torch.ops.aten.save` writes a
file, `torch.ops.aten.from_file` maps one, and `torch.export.load` follows any dotted path below `torch`. So only tensor
arithmetic of the `aten` namespace passes, private operations only if listed here. `program` asks; this knows no torch.
"""

from __future__ import annotations

import re

_ATEN = re.compile(r"torch\.ops\.aten\.([a-zA-Z_][a-zA-Z0-9_]*)\.([a-zA-Z_][a-zA-Z0-9_]*)")

# Checks that the exporter wove in. The server has checked the request's shape and datatype itself.
ASSERTIONS = frozenset(
    {
        "_assert_tensor_metadata",
        "_assert_scalar",
        "_assert_async",
        "_functional_assert_async",
        "_functional_assert_scalar",
        "sym_constrain_range",
        "sym_constrain_range_for_size",
    }
)

PRIVATE = frozenset(  # private operations that exported models really contain
    {
        "_adaptive_avg_pool2d",
        "_convolution",
        "_convolution_mode",
        "_embedding_bag",
        "_fft_c2c",
        "_fft_c2r",
        "_fft_r2c",
        "_log_softmax",
        "_native_batch_norm_legit_no_training",
        "_native_multi_head_attention",
        "_reshape_alias",
        "_safe_softmax",
        "_scaled_dot_product_attention_math",
        "_scaled_dot_product_flash_attention_for_cpu",
        "_softmax",
        "_to_copy",
        "_trilinear",
        "_unsafe_index",
        "_unsafe_view",
        "_upsample_bicubic2d_aa",
        "_upsample_bilinear2d_aa",
        "_weight_norm",
        "_weight_norm_interface",
    }
)

FORBIDDEN = frozenset(  # reach files, the process, or memory that is not the tensor's own
    {
        "data_ptr",
        "from_blob",
        "from_file",
        "get_pool_ceil_padding",
        "load",
        "manual_seed",
        "print",
        "record_stream",
        "rename",
        "rename_",
        "resize",
        "resize_",
        "resize_as",
        "resize_as_",
        "save",
        "set",
        "set_",
        "set_data",
        "warn",
        "wait",
    }
)

SYMBOLIC = frozenset(  # arithmetic on sizes: the interpreter binds each to a Python function
    {
        "_operator.add",
        "_operator.and_",
        "_operator.eq",
        "_operator.floordiv",
        "_operator.ge",
        "_operator.gt",
        "_operator.le",
        "_operator.lt",
        "_operator.mod",
        "_operator.mul",
        "_operator.ne",
        "_operator.neg",
        "_operator.or_",
        "_operator.pos",
        "_operator.sub",
        "_operator.truediv",
        "math.trunc",
        "torch.sym_float",
        "torch.sym_int",
        "torch.sym_ite",
        "torch.sym_max",
        "torch.sym_min",
        "torch.sym_not",
        "torch.sym_sqrt",
    }
)


def aten(target: str) -> tuple[str, str] | None:
    """(operation, overload) of a target that may be called; None for everything else."""
    match = _ATEN.fullmatch(target)
    if match is None:
        return None
    name, overload = match.groups()
    if name in FORBIDDEN or "__" in name or "__" in overload:
        return None
    if name.startswith("_") and name not in PRIVATE and name not in ASSERTIONS:
        return None
    return name, overload


def skipped(target: str) -> bool:
    """Whether this is a check that needs no answer when the server runs the program."""
    match = _ATEN.fullmatch(target)
    return match is not None and match.group(1) in ASSERTIONS
