#pragma once
// The timed comparison of cuDNN's attention with ours. One rank runs it, before the run's memory holds anything, and
// passes the table on as text, so that all ranks compute by the same kernels.
#include <span>

#include "attention_table.hpp"
#include "sherd/device/device.hpp"

namespace sherd::cuda {

/// cuDNN's is eligible if its results are ours but for rounding, and have equal bits when repeated; of two eligible
/// ones the faster by the median of several runs. `slab`: as large as that which the run will use. `scratch`: device
/// memory that may be overwritten; a shape whose operands do not fit in it is left out. Waits for the stream.
AttentionTable compare_attentions(std::span<const AttentionKey> keys, Tensor slab, Tensor scratch, Stream& s);

/// `table`, whose choices may come from anywhere, with cuDNN's kernels only where they still give right results whose
/// bits repeat. Not timed. Memory as above; waits for the stream.
AttentionTable verified(AttentionTable table, Tensor slab, Tensor scratch, Stream& s);

}  // namespace sherd::cuda
