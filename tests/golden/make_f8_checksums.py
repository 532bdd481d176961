#!/usr/bin/env python3
"""make_f8_checksums.py: what PyTorch's float8 dtypes are and round to, as the checksums in tests/unit/base/f8_test.cpp.
Made with PyTorch 2 on a CPU; printed in the order of that file."""
import numpy
import torch

LARGEST = {torch.float8_e4m3fn: 448.0, torch.float8_e5m2: 57344.0}
STRIDE = 4099  # a prime: bit patterns of every exponent with ever other mantissas


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


for dtype, largest in LARGEST.items():
    codes = torch.arange(256, dtype=torch.uint8).view(dtype).to(torch.float32)
    bits = codes.numpy().view(numpy.uint32).copy()
    bits[numpy.isnan(codes.numpy())] = 0x7FC00000  # which NaN is nobody's business
    patterns = numpy.arange(0, 1 << 32, STRIDE, dtype=numpy.uint64).astype(numpy.uint32)
    values = patterns.view(numpy.float32)
    within = numpy.abs(values) <= largest  # beyond that PyTorch does not saturate
    rounded = torch.from_numpy(values[within].copy()).to(dtype).view(torch.uint8).numpy()
    print(f"{dtype}: values {fnv1a(bits.tobytes()):#018x}, {within.sum()} rounded {fnv1a(rounded.tobytes()):#018x}")
