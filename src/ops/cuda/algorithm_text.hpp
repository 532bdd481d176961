#pragma once
// Chosen algorithms as text: a section per kind. A section is a header line that says what it is valid for, a line per
// choice, and a last line with their number and a checksum. A text may come from anywhere, so all of it is checked.
#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sherd::cuda {

constexpr std::string_view kAttentionFormat = "sherd-attention 1";

/// The words of one line, in order; every failure is bad_input and names the line.
class Words {
 public:
  /// `of`: what the section is called in errors.
  Words(std::string_view line, std::int64_t number, std::string_view of);
  std::string_view next() { return at_ < words_.size() ? words_[at_++] : fail("it ends too soon"); }
  void literal(std::string_view word);
  /// One of these words: which.
  std::size_t choice(std::span<const std::string_view> words);
  /// One of two words: whether it is the second.
  bool either(std::string_view first, std::string_view second) { return choice(std::array{first, second}) == 1; }
  std::int64_t size();    // at most 2^40
  double microseconds();  // a decimal fraction
  std::uint64_t hash();   // hexadecimal
  void end();
  [[noreturn]] std::string_view fail(const std::string& why) const;

 private:
  std::vector<std::string_view> words_;
  std::size_t at_ = 0;
  std::int64_t number_;
  std::string_view of_;
};

/// A section of these `lines`, each with its end, `count` of them.
std::string seal(const std::string& header, const std::string& lines, std::size_t count);

/// Calls `read` for each choice's line, which must take all of its words and refuse a second line of the same. False,
/// with the reason, if the section begins with another header; bad_input if it is damaged.
bool unseal(std::string_view section, const std::string& header, std::string_view of, std::string& reason,
            const std::function<void(Words&)>& read);

/// The sections of what Ops::choose_algorithms returns; empty where there is none.
struct Sections {
  std::string_view products, attention;
};
Sections sections_of(std::string_view text);

}  // namespace sherd::cuda
