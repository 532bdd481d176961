// The products of a linear layer. Those in eight bits decode their operands, which is exact in f32.
#include "gemm.hpp"
#include "ops.hpp"

namespace sherd::cpu {

void OpsImpl::multiply(const Product& p, const char* op, Stream& s) {
  enqueue(s, op, access({p.a, p.b, p.a_scale, p.b_scale}, {p.out, workspace_}), [=, this] { gemm_.multiply(p, op); });
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
void OpsImpl::linear_f8(Tensor a, Tensor a_scale, Tensor b, Tensor b_scale, Tensor out, float beta, Stream& s) {
  multiply(linear_f8_product(a, a_scale, b, b_scale, out, beta), "linear_f8", s);
}

}  // namespace sherd::cpu
