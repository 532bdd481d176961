#include "onednn.hpp"

namespace sherd::cpu {

dnnl::matmul::primitive_desc describe_matmul(const dnnl::engine& engine, const dnnl::memory::desc& a,
                                             const dnnl::memory::desc& b, const dnnl::memory::desc& c,
                                             const dnnl::primitive_attr& attributes) {
  return {{a, b, c}, attributes, engine};
}

}  // namespace sherd::cpu
