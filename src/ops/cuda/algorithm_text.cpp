#include "algorithm_text.hpp"

#include <charconv>

#include "sherd/base/error.hpp"
#include "sherd/base/rng.hpp"

namespace sherd::cuda {
namespace {

constexpr std::size_t kMaxBytes = 4 << 20;  // of a section: 16,000 products, when a model has about 30
constexpr std::int64_t kMaxSize = std::int64_t{1} << 40;

/// `how`: an integer's base, or a fraction's format. Negative numbers and NaN are refused.
template <class Number, class How>
Number number_of(Words& words, Number most, How how) {
  const std::string_view word = words.next();
  Number out{};
  const auto [end, rc] = std::from_chars(word.data(), word.data() + word.size(), out, how);
  if (rc != std::errc() || end != word.data() + word.size() || !(out >= 0 && out <= most))
    words.fail(fmt::format("expected a number of at most {}", most));
  return out;
}

/// The text up to the next line's end, taken off `rest`.
std::string_view take_line(std::string_view& rest) {
  const std::size_t end = rest.find('\n');
  const std::string_view line = rest.substr(0, end);
  rest = end == std::string_view::npos ? "" : rest.substr(end + 1);
  return line;
}

}  // namespace

Words::Words(std::string_view line, std::int64_t number, std::string_view of) : number_(number), of_(of) {
  std::size_t end = 0;
  for (std::size_t begin = 0; end != std::string_view::npos; begin = end + 1) {
    end = line.find(' ', begin);
    words_.push_back(line.substr(begin, end == std::string_view::npos ? end : end - begin));
  }
}

void Words::literal(std::string_view word) {
  if (next() != word) fail(fmt::format("expected '{}'", word));
}

std::size_t Words::choice(std::span<const std::string_view> words) {
  const std::string_view word = next();
  std::string expected;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i] == word) return i;
    expected += fmt::format("{}'{}'", i == 0 ? "" : " or ", words[i]);
  }
  fail("expected " + expected);
}

std::int64_t Words::size() {
  return number_of(*this, kMaxSize, 10);
}
double Words::microseconds() {
  return number_of(*this, 1e12, std::chars_format::fixed);
}
std::uint64_t Words::hash() {
  return number_of(*this, ~std::uint64_t{0}, 16);
}

void Words::end() {
  if (at_ != words_.size()) fail("it goes on too long");
}

std::string_view Words::fail(const std::string& why) const {
  throw bad_input("{}, line {}, word {}: {}", of_, number_, at_, why);
}

std::string seal(const std::string& header, const std::string& lines, std::size_t count) {
  return fmt::format("{}\n{}end {} {:016x}\n", header, lines, count, stable_hash(lines));
}

bool unseal(std::string_view section, const std::string& header, std::string_view of, std::string& reason,
            const std::function<void(Words&)>& read) {
  if (section.size() > kMaxBytes) throw bad_input("{} of {} bytes, at most {} are read", of, section.size(), kMaxBytes);
  std::string_view rest = section;
  if (const std::string_view found = take_line(rest); found != header) {
    reason = fmt::format("it begins with '{}', not with '{}'", found.substr(0, 200), header);
    return false;
  }
  const std::string_view body = rest;
  for (std::int64_t number = 2;; ++number) {
    const std::size_t at = body.size() - rest.size();
    const std::string_view line = take_line(rest);
    Words words(line, number, of);
    if (!line.starts_with("end ")) {
      read(words);
      continue;
    }
    words.literal("end");
    if (words.size() != number - 2) words.fail("not the number of lines before it");
    if (words.hash() != stable_hash(body.substr(0, at))) words.fail("wrong checksum");
    words.end();
    if (!rest.empty()) Words(rest, number + 1, of).fail("it goes on after its end");
    return true;
  }
}

Sections sections_of(std::string_view text) {
  if (text.starts_with(kAttentionFormat)) return {{}, text};
  const std::size_t at = text.find(fmt::format("\n{}", kAttentionFormat));
  if (at == std::string_view::npos) return {text, {}};
  return {text.substr(0, at + 1), text.substr(at + 1)};
}

}  // namespace sherd::cuda
