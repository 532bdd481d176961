#include "onednn.hpp"

namespace sherd::cpu {

dnnl::matmul::primitive_desc describe_matmul(const dnnl::engine& engine, const dnnl::memory::desc& a,
                                             const dnnl::memory::desc& b, const dnnl::memory::desc& c,
                                             const dnnl::primitive_attr& attributes) {
  return {engine, a, b, c, attributes};
}

}  // namespace sherd::cpu
