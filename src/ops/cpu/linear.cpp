// The three products of a linear layer; w is (O, I).
#include "gemm.hpp"
#include "ops.hpp"
#include "sherd/ops/check.hpp"

namespace sherd::cpu {

void OpsImpl::linear(Tensor x, Tensor w, Tensor y, Stream& s) {
  check_act("x", x);
  check_matrix("w", w, y.cols(), x.cols(), x.dtype);
  check_matrix("y", y, x.rows(), w.rows(), x.dtype);
  enqueue(s, "linear", access({x, w}, {y, workspace_}),
          [=, this] { gemm_.multiply(product(plain(x), transposed(w), x.dtype, y, x.cols(), 0)); });
}

void OpsImpl::linear_grad_input(Tensor dy, Tensor w, Tensor dx, float beta, Stream& s) {
  check_act("dy", dy);
  check_matrix("w", w, dy.cols(), dx.cols(), dy.dtype);
  check_matrix("dx", dx, dy.rows(), w.cols(), dy.dtype);
  enqueue(s, "linear_grad_input", access({dy, w}, {dx, workspace_}),
          [=, this] { gemm_.multiply(product(plain(dy), plain(w), dy.dtype, dx, dy.cols(), beta)); });
}

void OpsImpl::linear_grad_weight(Tensor dy, Tensor x, Tensor dw, float beta, Stream& s) {
  check_act("dy", dy);
  check_matrix("x", x, dy.rows(), dw.cols(), dy.dtype);
  check_grad("dw", dw, dy.dtype);
  check_matrix("dw", dw, dy.cols(), x.cols(), dw.dtype);
  enqueue(s, "linear_grad_weight", access({dy, x}, {dw, workspace_}),
          [=, this] { gemm_.multiply(product(transposed(dy), plain(x), dy.dtype, dw, dy.rows(), beta)); });
}

}  // namespace sherd::cpu
