#include "toml.hpp"

#include <fstream>
#include <set>
#include <sstream>

#include "sherd/base/error.hpp"

namespace sherd::config {
namespace {

constexpr std::uintmax_t kMaxFileSize = 1 << 20;

bool is_space(char c) {
  return c == ' ' || c == '\t';
}
bool is_bare(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-';
}

// Reads one line from left to right.
class Line {
 public:
  Line(std::string_view text, std::string where) : rest_(text), where_(std::move(where)) { skip_spaces(); }

  bool done() const { return rest_.empty() || rest_.front() == '#'; }
  char front() const { return rest_.empty() ? '\0' : rest_.front(); }
  bool take(char c) {
    if (front() != c || rest_.empty()) return false;
    rest_.remove_prefix(1);
    skip_spaces();
    return true;
  }
  Error wrong(const std::string& what) const { return usage_error("{}: {}", where_, what); }

  std::string word(bool (*belongs)(char)) {
    const auto end = std::find_if_not(rest_.begin(), rest_.end(), belongs);
    std::string out(rest_.begin(), end);
    rest_.remove_prefix(out.size());
    skip_spaces();
    return out;
  }

  std::string quoted() {
    const char quote = front();
    std::string out;
    for (std::size_t i = 1; i < rest_.size(); ++i) {
      if (rest_[i] == quote) {
        rest_.remove_prefix(i + 1);
        skip_spaces();
        return out;
      }
      const bool escape = quote == '"' && rest_[i] == '\\' && i + 1 < rest_.size();
      out += escape ? unescaped(rest_[++i]) : rest_[i];
    }
    throw wrong(fmt::format("the text {} has no closing {}", rest_, quote));
  }

 private:
  void skip_spaces() {
    while (!rest_.empty() && is_space(rest_.front())) rest_.remove_prefix(1);
  }
  char unescaped(char c) const {
    if (c == 'n') return '\n';
    if (c == 't') return '\t';
    if (c == '"' || c == '\\') return c;
    throw wrong(
        fmt::format("\\{} in a text; \\n, \\t, \\\" and \\\\ are known, and 'single quotes' take all as it is", c));
  }

  std::string_view rest_;
  std::string where_;
};

void read_value(Line& line, TomlSetting& s) {
  using Kind = TomlSetting::Kind;
  if (line.front() == '"' || line.front() == '\'') {
    s.values.push_back(line.quoted());
  } else if (line.take('[')) {
    s.kind = Kind::texts;
    while (!line.take(']')) {
      if (line.front() != '"' && line.front() != '\'') throw line.wrong("a list is [\"a\", \"b\"], on one line");
      s.values.push_back(line.quoted());
      if (!line.take(',') && line.front() != ']') throw line.wrong("a comma or ] is expected in a list");
    }
  } else {
    std::string word = line.word([](char c) { return is_bare(c) || c == '+' || c == '.'; });
    s.kind = word == "true" || word == "false" ? Kind::boolean : Kind::number;
    const bool digits = word.find_first_of("0123456789") != std::string::npos;
    if (s.kind == Kind::number && (!digits || word.find_first_not_of("0123456789+-._eE") != std::string::npos)) {
      throw line.wrong(fmt::format("{} = {}; a number, true, false, or a text in \"quotes\" is expected", s.key,
                                   word.empty() ? "nothing" : word));
    }
    std::erase(word, '_');  // 1_000_000
    s.values.push_back(word);
  }
}

TomlSetting read_setting(Line& line) {
  TomlSetting s;
  if (line.front() == '[') throw line.wrong("a [table]; settings are a flat list of key = value lines");
  s.key = line.word(is_bare);
  if (s.key.empty() || !line.take('=')) throw line.wrong("key = value is expected");
  read_value(line, s);
  if (!line.done()) throw line.wrong(fmt::format("something follows the value of {}", s.key));
  return s;
}

}  // namespace

std::vector<TomlSetting> parse_toml(const std::string& text, const std::string& source) {
  std::vector<TomlSetting> settings;
  std::set<std::string> seen;
  std::istringstream lines(text);
  std::string content;
  for (int number = 1; std::getline(lines, content); ++number) {
    if (content.ends_with('\r')) content.pop_back();
    Line line(content, fmt::format("{}:{}", source, number));
    if (line.done()) continue;
    settings.push_back(read_setting(line));
    TomlSetting& s = settings.back();
    s.line = number;
    std::replace(s.key.begin(), s.key.end(), '_', '-');
    if (!seen.insert(s.key).second) throw line.wrong(fmt::format("{} is set a second time", s.key));
  }
  return settings;
}

std::vector<TomlSetting> read_toml(const std::filesystem::path& path) {
  std::error_code error;
  const std::uintmax_t size = std::filesystem::file_size(path, error);
  if (error) throw usage_error("--config {}: {}", path.string(), error.message());
  if (size > kMaxFileSize) {
    throw usage_error("--config {}: {} bytes; at most {} are read", path.string(), size, kMaxFileSize);
  }
  std::ifstream file(path, std::ios::binary);
  std::string text(size, '\0');
  if (!file.read(text.data(), static_cast<std::streamsize>(size))) {
    throw usage_error("--config {}: cannot read it; check its permissions", path.string());
  }
  return parse_toml(text, path.string());
}

}  // namespace sherd::config
