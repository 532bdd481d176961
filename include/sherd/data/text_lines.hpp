#pragma once
// Text input: files cut into blocks of whole lines, and lines into documents.
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sherd {

enum class TextFormat {
  jsonl,  // one JSON object per line, the document is its string field "text"
  text,   // one document per line
};

/// From a flag (auto | jsonl | text) and, with auto, the file's extension. Usage error when neither says.
TextFormat text_format(std::string_view flag, const std::string& path);

/// The document in a line without its line break. Null on success; else what is wrong with the line. JSON as in RFC
/// 8259, strictly: all of the line is checked, strings are UTF-8 (RFC 3629), surrogates come in pairs.
const char* parse_line(TextFormat format, std::string_view line, std::string& document);

/// A line without the byte order mark that a file may begin with, and without the carriage return that it may end with.
/// `offset`: of the line in its file.
std::string_view clean_line(std::string_view line, std::int64_t offset);

struct InputFile {
  std::string path;
  TextFormat format = TextFormat::jsonl;
  std::int64_t bytes = 0;
};

/// Opens and measures the inputs; bad input when one is missing.
std::vector<InputFile> open_inputs(std::span<const std::string> paths, std::string_view format_flag);

/// Whole lines of one file.
struct LineBlock {
  const InputFile* file = nullptr;
  std::int64_t offset = 0;  // of the first byte in the file
  std::string text;
};

/// The lines that begin in bytes [first, last) of the inputs laid end to end, in blocks of about `block_bytes`. Ranges
/// that cover the inputs give every line once, so any number of readers sees the same lines in the same order.
class LineBlocks {
 public:
  LineBlocks(std::span<const InputFile> files, std::int64_t first, std::int64_t last, std::int64_t block_bytes);
  /// False at the end. Bad input when a line is longer than 16 MiB.
  bool next(LineBlock& block);

 private:
  void enter_file();
  bool read_block(LineBlock& block);

  std::span<const InputFile> files_;
  std::int64_t first_, last_, block_bytes_;
  std::size_t file_ = 0;
  std::int64_t file_begin_ = 0;  // of files_[file_] in the inputs laid end to end
  std::int64_t at_ = -1;         // in files_[file_]: where a line begins; -1 before the file is entered
};

/// The number, from 1, of the line that begins at byte `offset` of a file.
std::int64_t line_number(const std::string& path, std::int64_t offset);

}  // namespace sherd
