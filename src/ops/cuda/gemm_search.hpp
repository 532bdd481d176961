#pragma once
// The timed search for products' algorithms. One rank runs it, before the run's memory holds anything, and passes the
// table on as text, so that all ranks compute with the same bits.
#include <span>

#include "gemm_table.hpp"
#include "sherd/base/tensor.hpp"
#include "sherd/device/device.hpp"

namespace sherd::cuda {

/// Those of `table` that this library takes for such a workspace and whose bits repeat, and those that chose nothing.
/// The rest came from a damaged or foreign place. Waits for the stream.
GemmTable verified(const GemmTable& table, Tensor scratch, Tensor workspace, Stream& s);

/// For each shape the fastest of up to 16 algorithms, by the median of several timed runs, among those whose results
/// have equal bits when repeated. `scratch` is device memory that may be overwritten; a shape whose operands do not fit
/// in it, or that no algorithm computes, gets a choice of none. `workspace` must be as large as the Gemm's that will
/// use the table. Waits for the stream.
GemmTable search_products(std::span<const ProductKey> shapes, Tensor scratch, Tensor workspace, Stream& s);

}  // namespace sherd::cuda
