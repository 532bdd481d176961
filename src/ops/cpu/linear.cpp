// The three products of a linear layer.
#include "gemm.hpp"
#include "ops.hpp"

namespace sherd::cpu {

void OpsImpl::multiply(const Product& p, const char* op, Stream& s) {
  enqueue(s, op, access({p.a, p.b}, {p.out, workspace_}), [=, this] { gemm_.multiply(p, op); });
}

void OpsImpl::linear(Tensor x, Tensor w, Tensor y, Stream& s) {
  multiply(linear_product(x, w, y), "linear", s);
}
void OpsImpl::linear_grad_input(Tensor dy, Tensor w, Tensor dx, float beta, Stream& s) {
  multiply(linear_grad_input_product(dy, w, dx, beta), "linear_grad_input", s);
}
void OpsImpl::linear_grad_weight(Tensor dy, Tensor x, Tensor dw, float beta, Stream& s) {
  multiply(linear_grad_weight_product(dy, x, dw, beta), "linear_grad_weight", s);
}

}  // namespace sherd::cpu
