// The three products of a linear layer; w is (O, I).
#include "ops.hpp"
#include "sherd/ops/check.hpp"

namespace sherd::cuda {

void OpsImpl::linear(Tensor x, Tensor w, Tensor y, Stream& s) {
  check_act("x", x);
  check_matrix("w", w, y.cols(), x.cols(), x.dtype);
  check_matrix("y", y, x.rows(), w.rows(), x.dtype);
  gemm_.multiply({x, w, y, false, true, 0}, "linear", s);
}

void OpsImpl::linear_grad_input(Tensor dy, Tensor w, Tensor dx, float beta, Stream& s) {
  check_act("dy", dy);
  check_matrix("w", w, dy.cols(), dx.cols(), dy.dtype);
  check_matrix("dx", dx, dy.rows(), w.cols(), dy.dtype);
  gemm_.multiply({dy, w, dx, false, false, beta}, "linear_grad_input", s);
}

void OpsImpl::linear_grad_weight(Tensor dy, Tensor x, Tensor dw, float beta, Stream& s) {
  check_act("dy", dy);
  check_matrix("x", x, dy.rows(), dw.cols(), dy.dtype);
  check_grad("dw", dw, dy.dtype);
  check_matrix("dw", dw, dy.cols(), x.cols(), dw.dtype);
  gemm_.multiply({dy, x, dw, true, false, beta}, "linear_grad_weight", s);
}

}  // namespace sherd::cuda
