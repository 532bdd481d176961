#pragma once
// Nothing: what the sources take from this header of CUDA's is in ptx.cuh.
