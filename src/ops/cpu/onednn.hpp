#pragma once
// The one call that oneDNN 2 and 3 spell differently: onednn2.cpp or onednn3.cpp, chosen by CMake.
#include <dnnl.hpp>

namespace sherd::cpu {

/// c = a b, with these attributes.
dnnl::matmul::primitive_desc describe_matmul(const dnnl::engine& engine, const dnnl::memory::desc& a,
                                             const dnnl::memory::desc& b, const dnnl::memory::desc& c,
                                             const dnnl::primitive_attr& attributes);

}  // namespace sherd::cpu
