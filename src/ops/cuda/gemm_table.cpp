#include "gemm_table.hpp"

#include <charconv>

#include "algorithm_text.hpp"
#include "sherd/base/error.hpp"

namespace sherd::cuda {
namespace {

constexpr std::string_view kFormat = "sherd-gemm-table 1";

std::string header(const GemmTarget& t) {
  return fmt::format("{} cublaslt {} sm {} multiprocessors {} device {}", kFormat, t.library_version,
                     t.compute_capability, t.multiprocessors, t.device);
}

std::string hex(const AlgorithmBytes& algorithm) {
  if (algorithm == AlgorithmBytes{}) return "none";
  std::string out;
  for (const std::uint64_t word : algorithm) out += fmt::format("{:016x}", word);
  return out;
}

AlgorithmBytes read_algorithm(Words& w) {
  const std::string_view word = w.next();
  AlgorithmBytes out{};
  if (word == "none") return out;
  if (word.size() != 16 * out.size() || word.find_first_not_of("0123456789abcdef") != std::string_view::npos)
    w.fail("expected 128 hexadecimal digits or none");
  for (std::size_t i = 0; i < out.size(); ++i)
    std::from_chars(word.data() + 16 * i, word.data() + 16 * (i + 1), out[i], 16);
  return out;
}

DType read_operand(Words& w) {
  static constexpr std::array kTypes{DType::f32, DType::bf16, DType::f8e4m3, DType::f8e5m2};
  static constexpr std::array<std::string_view, 4> kNames{"f32", "bf16", "f8e4m3", "f8e5m2"};
  return kTypes[w.choice(kNames)];
}

ProductKey read_key(Words& w) {
  ProductKey key;
  key.in = read_operand(w);
  key.out = w.either("f32", "bf16") ? DType::bf16 : DType::f32;
  w.literal("m"), key.m = w.size();
  w.literal("n"), key.n = w.size();
  w.literal("k"), key.k = w.size();
  w.literal("strides"), key.a_stride = w.size();
  key.b_stride = w.size();
  key.out_stride = w.size();
  key.transpose_a = w.either("n", "t");
  key.transpose_b = w.either("n", "t");
  key.accumulate = w.either("new", "beta");
  return key;
}

}  // namespace

const GemmTable::Choice* GemmTable::find(const ProductKey& key) const {
  const auto at = choices_.find(key);
  return at == choices_.end() ? nullptr : &at->second;
}

std::string GemmTable::text(const GemmTarget& target) const {
  std::string lines;
  for (const auto& [key, choice] : choices_)
    lines += fmt::format("{} us {:.2f} algorithm {}\n", key.text(), choice.microseconds, hex(choice.algorithm));
  return seal(header(target), lines, choices_.size());
}

std::optional<GemmTable> GemmTable::parse(std::string_view text, const GemmTarget& target, std::string& reason) {
  GemmTable table;
  const bool ours = unseal(text, header(target), "table of products", reason, [&](Words& w) {
    const ProductKey key = read_key(w);
    Choice choice;
    w.literal("us"), choice.microseconds = w.microseconds();
    w.literal("algorithm"), choice.algorithm = read_algorithm(w);
    w.end();
    if (!table.choices_.emplace(key, choice).second) w.fail("a second line of this product");
  });
  return ours ? std::optional(std::move(table)) : std::nullopt;
}

}  // namespace sherd::cuda
