// Tables of chosen algorithms, which come from caches and checkpoints.
#include <algorithm>

#include "../../src/ops/cuda/algorithm_text.hpp"
#include "../../src/ops/cuda/attention_table.hpp"
#include "../../src/ops/cuda/gemm_table.hpp"
#include "target.hpp"

namespace sherd::test {
namespace {

const cuda::GemmTarget kGemmTarget{"NVIDIA H100 80GB HBM3", 90, 132, 130100};
const cuda::AttentionTarget kAttentionTarget{"cuDNN 9.25.1", "NVIDIA H100 80GB HBM3", 90, 132};

std::string products() {
  cuda::GemmTable table;
  table.set({DType::bf16, DType::f32, 4096, 11008, 2048, 4096, 11008, 11008, true, false, true},
            {{1, 2, 3, 0xffffffffffffffff, 5, 6, 7, 0x0123456789abcdef}, 123.45});
  table.set({DType::f32, DType::f32, 7, 129, 1, 1, 129, 200, false, true, false}, {{}, 0});
  return table.text(kGemmTarget);
}

std::string attention() {
  cuda::AttentionTable table;
  const cuda::AttentionTask task{{4, 1024, {32, 8, 128}, 64}, true};
  table.set(task, {cuda::AttentionTable::Verdict::faster, 123.45, 100});
  table.set({task.key, false}, {cuda::AttentionTable::Verdict::wrong, 1.5, 0});
  return table.text(kAttentionTarget);
}

std::vector<std::string> seeds(const std::filesystem::path& /*scratch*/) {
  return {products(), attention(), products() + attention()};
}

/// The lines between the header and the end, sealed again, so that mutations get past the checksum.
std::string resealed(std::string_view section) {
  const std::size_t header = section.find('\n'), last = section.rfind("end ");
  if (header == std::string_view::npos || last == std::string_view::npos || last <= header) return std::string(section);
  const std::string lines(section.substr(header + 1, last - header - 1));
  return cuda::seal(std::string(section.substr(0, header)), lines,
                    static_cast<std::size_t>(std::count(lines.begin(), lines.end(), '\n')));
}

template <class Table, class Target>
void parse(const std::string& section, const Target& target) {
  std::string reason;
  const auto table = Table::parse(section, target, reason);
  SHERD_CHECK(table || !reason.empty(), "refused without a reason");
  if (!table) return;
  const auto again = Table::parse(table->text(target), target, reason);
  SHERD_CHECK(again && again->text(target) == table->text(target), "{} is not what was read", table->text(target));
}

void run_raw(const std::string& input, const std::filesystem::path& /*scratch*/) {
  const cuda::Sections sections = cuda::sections_of(input);
  parse<cuda::GemmTable>(std::string(sections.products), kGemmTarget);
  parse<cuda::AttentionTable>(std::string(sections.attention), kAttentionTarget);
}

void run_products(const std::string& input, const std::filesystem::path& /*scratch*/) {
  parse<cuda::GemmTable>(resealed(cuda::sections_of(input).products), kGemmTarget);
}
void run_attention(const std::string& input, const std::filesystem::path& /*scratch*/) {
  parse<cuda::AttentionTable>(resealed(cuda::sections_of(input).attention), kAttentionTarget);
}

}  // namespace

std::vector<FuzzTarget> ops_targets() {
  return {{"algorithms", seeds, run_raw}, {"products", seeds, run_products}, {"attention", seeds, run_attention}};
}

}  // namespace sherd::test
