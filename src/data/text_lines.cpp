#include "sherd/data/text_lines.hpp"

#include <algorithm>

#include "json_text.hpp"
#include "sherd/base/error.hpp"
#include "sherd/base/narrow.hpp"
#include "sherd/file/posix.hpp"

namespace sherd {
namespace {

constexpr std::int64_t kMaxLine = std::int64_t{16} << 20;

const char* parse_plain(std::string_view line, std::string& document) {
  for (std::size_t i = 0; i < line.size();) {
    const std::size_t length = utf8_length(line, i);
    if (length == 0) return "not UTF-8";
    i += length;
  }
  document.assign(line);
  return nullptr;
}

}  // namespace

TextFormat text_format(std::string_view flag, const std::string& path) {
  if (flag == "jsonl") return TextFormat::jsonl;
  if (flag == "text") return TextFormat::text;
  if (flag != "auto") throw usage_error("--format is '{}'; it can be auto, jsonl or text", flag);
  for (const std::string_view end : {".jsonl", ".ndjson", ".json"}) {
    if (path.ends_with(end)) return TextFormat::jsonl;
  }
  if (path.ends_with(".txt")) return TextFormat::text;
  throw usage_error("{}: its name does not say what it holds (.jsonl or .txt); add --format jsonl or --format text",
                    path);
}

const char* parse_line(TextFormat format, std::string_view line, std::string& document) {
  return format == TextFormat::jsonl ? json_string_field(line, "text", document) : parse_plain(line, document);
}

std::string_view clean_line(std::string_view line, std::int64_t offset) {
  if (offset == 0 && line.starts_with("\xEF\xBB\xBF")) line.remove_prefix(3);
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

std::vector<InputFile> open_inputs(std::span<const std::string> paths, std::string_view format_flag) {
  std::vector<InputFile> files;
  for (const std::string& path : paths) {
    const TextFormat format = text_format(format_flag, path);
    files.push_back({path, format, File::open_read(path).size()});
  }
  return files;
}

LineBlocks::LineBlocks(std::span<const InputFile> files, std::int64_t first, std::int64_t last,
                       std::int64_t block_bytes)
    : files_(files), first_(first), last_(last), block_bytes_(block_bytes) {}

bool LineBlocks::next(LineBlock& block) {
  while (file_ < files_.size() && file_begin_ < last_) {
    if (at_ < 0) enter_file();
    if (read_block(block)) return true;
    file_begin_ += files_[file_].bytes;
    at_ = -1;
    ++file_;
  }
  return false;
}

/// Sets at_ to the first line that begins at or after first_: after the first line break from the byte before it on.
void LineBlocks::enter_file() {
  const InputFile& input = files_[file_];
  at_ = 0;
  if (first_ <= file_begin_ || input.bytes == 0) return;
  at_ = std::min(first_ - file_begin_, input.bytes) - 1;
  const File file = File::open_read(input.path);
  std::string buffer(std::size_t{1} << 16, '\0');
  while (at_ < input.bytes) {
    const auto part = std::span(buffer).first(
        static_cast<std::size_t>(std::min(narrow<std::int64_t>(buffer.size()), input.bytes - at_)));
    file.pread_all(std::as_writable_bytes(part), at_);
    const auto line_break = std::find(part.begin(), part.end(), '\n');
    at_ += line_break - part.begin();
    if (line_break != part.end()) {
      ++at_;
      return;
    }
  }
}

bool LineBlocks::read_block(LineBlock& block) {
  const InputFile& input = files_[file_];
  const std::int64_t last = std::min(last_ - file_begin_, input.bytes);  // lines that begin before it are ours
  if (at_ >= last) return false;
  const File file = File::open_read(input.path);
  block.file = &input;
  block.offset = at_;
  for (std::int64_t want = block_bytes_;; want = std::min(2 * want, kMaxLine + block_bytes_)) {
    const std::int64_t size = std::min(want, input.bytes - at_);
    block.text.resize(static_cast<std::size_t>(size));
    file.pread_all(std::as_writable_bytes(std::span(block.text)), at_);
    std::size_t end = std::string::npos;
    if (at_ + size < last) {
      end = block.text.rfind('\n');
    } else {
      end = block.text.find('\n', static_cast<std::size_t>(last - 1 - at_));
      if (end == std::string::npos && at_ + size == input.bytes) end = block.text.size() - 1;
    }
    if (end != std::string::npos) {
      block.text.resize(end + 1);
      at_ += narrow<std::int64_t>(end) + 1;
      return true;
    }
    if (size == kMaxLine + block_bytes_) {
      throw bad_input("{}:{}: a line of more than {} MiB; one document per line is expected", input.path,
                      line_number(input.path, at_), kMaxLine >> 20);
    }
  }
}

std::int64_t line_number(const std::string& path, std::int64_t offset) {
  const File file = File::open_read(path);
  std::string buffer(std::size_t{1} << 20, '\0');
  std::int64_t line = 1;
  for (std::int64_t at = 0; at < offset;) {
    const auto part =
        std::span(buffer).first(static_cast<std::size_t>(std::min(narrow<std::int64_t>(buffer.size()), offset - at)));
    file.pread_all(std::as_writable_bytes(part), at);
    line += std::count(part.begin(), part.end(), '\n');
    at += narrow<std::int64_t>(part.size());
  }
  return line;
}

}  // namespace sherd
