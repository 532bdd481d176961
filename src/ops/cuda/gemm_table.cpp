#include "gemm_table.hpp"

#include <charconv>
#include <vector>

#include "sherd/base/error.hpp"
#include "sherd/base/rng.hpp"

namespace sherd::cuda {
namespace {

constexpr std::string_view kFormat = "sherd-gemm-table 1";
constexpr std::size_t kMaxBytes = 4 << 20;  // of a text: 16,000 products, when a model has about 30
constexpr std::int64_t kMaxSize = std::int64_t{1} << 40;

std::string header(const GemmTarget& t) {
  return fmt::format("{} cublaslt {} sm {} multiprocessors {} device {}", kFormat, t.library_version,
                     t.compute_capability, t.multiprocessors, t.device);
}

std::string hex(const AlgorithmBytes& algorithm) {
  std::string out;
  for (const std::uint64_t word : algorithm) out += fmt::format("{:016x}", word);
  return out;
}

/// The words of one line, in order; every failure names the line.
class Words {
 public:
  Words(std::string_view line, std::int64_t number) : number_(number) {
    std::size_t end = 0;
    for (std::size_t begin = 0; end != std::string_view::npos; begin = end + 1) {
      end = line.find(' ', begin);
      words_.push_back(line.substr(begin, end == std::string_view::npos ? end : end - begin));
    }
  }
  std::string_view next() { return at_ < words_.size() ? words_[at_++] : fail("it ends too soon"); }
  void literal(std::string_view word) {
    if (next() != word) fail(fmt::format("expected '{}'", word));
  }
  /// One of two words: whether it is the second.
  bool either(std::string_view first, std::string_view second) {
    const std::string_view word = next();
    if (word != first && word != second) fail(fmt::format("expected '{}' or '{}'", first, second));
    return word == second;
  }
  /// An integer by its base, or a decimal fraction by its format.
  template <class Number, class How>
  Number number(Number most, How how) {
    const std::string_view word = next();
    Number out{};
    const auto [end, rc] = std::from_chars(word.data(), word.data() + word.size(), out, how);
    if (rc != std::errc() || end != word.data() + word.size() || !(out >= 0 && out <= most))
      fail(fmt::format("expected a number of at most {}", most));
    return out;
  }
  std::int64_t size() { return number(kMaxSize, 10); }
  AlgorithmBytes algorithm() {
    const std::string_view word = next();
    AlgorithmBytes out{};
    if (word.size() != 16 * out.size() || word.find_first_not_of("0123456789abcdef") != std::string_view::npos)
      fail("expected 128 hexadecimal digits");
    for (std::size_t i = 0; i < out.size(); ++i)
      std::from_chars(word.data() + 16 * i, word.data() + 16 * (i + 1), out[i], 16);
    return out;
  }
  void end() {
    if (at_ != words_.size()) fail("it goes on too long");
  }
  std::string_view fail(const std::string& why) const {
    throw bad_input("table of products, line {}, word {}: {}", number_, at_, why);
  }

 private:
  std::vector<std::string_view> words_;
  std::size_t at_ = 0;
  std::int64_t number_;
};

ProductKey read_key(Words& w) {
  ProductKey key;
  key.in = w.either("f32", "bf16") ? DType::bf16 : DType::f32;
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

std::pair<ProductKey, GemmTable::Choice> read_line(std::string_view line, std::int64_t number) {
  Words w(line, number);
  const ProductKey key = read_key(w);
  GemmTable::Choice choice;
  w.literal("us"), choice.microseconds = w.number(1e12, std::chars_format::fixed);
  w.literal("algorithm"), choice.algorithm = w.algorithm();
  w.end();
  return {key, choice};
}

/// The text up to the next line's end, taken off `rest`.
std::string_view take_line(std::string_view& rest) {
  const std::size_t end = rest.find('\n');
  const std::string_view line = rest.substr(0, end);
  rest = end == std::string_view::npos ? "" : rest.substr(end + 1);
  return line;
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
  return fmt::format("{}\n{}end {} {:016x}\n", header(target), lines, choices_.size(), stable_hash(lines));
}

std::optional<GemmTable> GemmTable::parse(std::string_view text, const GemmTarget& target, std::string& reason) {
  if (text.size() > kMaxBytes)
    throw bad_input("table of products of {} bytes, at most {} are read", text.size(), kMaxBytes);
  std::string_view rest = text;
  if (const std::string_view found = take_line(rest); found != header(target)) {
    reason = fmt::format("it begins with '{}', not with '{}'", found.substr(0, 200), header(target));
    return std::nullopt;
  }
  GemmTable table;
  const std::string_view body = rest;
  std::int64_t number = 1;
  while (true) {
    const std::size_t at = body.size() - rest.size();
    const std::string_view line = take_line(rest);
    ++number;
    if (line.starts_with("end ")) {
      Words last(line.substr(4), number);
      if (last.number(std::uint64_t{kMaxBytes}, 10) != table.choices_.size())
        last.fail("not the number of lines before it");
      if (last.number(~std::uint64_t{0}, 16) != stable_hash(body.substr(0, at))) last.fail("wrong checksum");
      last.end();
      return table;
    }
    const auto [key, choice] = read_line(line, number);
    if (!table.choices_.emplace(key, choice).second) Words("", number).fail("a second line of this product");
  }
}

}  // namespace sherd::cuda
