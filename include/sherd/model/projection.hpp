#pragma once
// The products of a block with its weights, in the activations' dtype, or in eight bits where the run asks for it
// (--fp8) and the shape allows it: operands in e4m3, gradients in e5m2 (Micikevicius et al., arXiv:2209.05433), each
// tensor with one scale, that of its largest magnitude as it is now.
//
// N tokens, I and O the widths of input and output. Codes lie in the activations' arena while a product needs them.
#include <string>
#include <vector>

#include "sherd/model/llama.hpp"

namespace sherd {

/// y (N, O) = x (N, I) w^T (O, I). Scales that are not found yet are found.
void project(const LlamaContext& ctx, Tensor x, Tensor w, Tensor y, F8Scales& scales);
/// dw (O, I) = dy^T x + beta dw, then dx (N, I) = dy (N, O) w. dx may be x itself. `scales`: those of project.
void project_backward(const LlamaContext& ctx, Tensor dy, Tensor x, Tensor w, Tensor dx, Tensor dw, float beta,
                      const F8Scales& scales);

/// The blocks' products that --fp8 leaves in bf16, with `tokens` in a micro-batch: "down (1024, 192, 500)", which are
/// N, O and I. One dimension is no multiple of 16.
std::vector<std::string> products_without_f8(const ModelConfig& config, std::int64_t tokens);

}  // namespace sherd
