#pragma once
// Bytes from a file, a pipe or standard input, decompressed where they are zstd.
#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace sherd::chess {

class ByteSource {
 public:
  virtual ~ByteSource() = default;
  /// Fills some of `out`; 0 at the end only. Bad input where reading or decompressing fails.
  virtual std::size_t read(std::span<char> out) = 0;
};

/// "-" is standard input. What is compressed is told by its first bytes, not by its name.
std::unique_ptr<ByteSource> open_source(const std::string& path);

/// The bytes that are compressed in `inner`: frames one after another, skippable ones left out. `name` is for messages.
/// Bad input where this build has no libzstd.
std::unique_ptr<ByteSource> zstd_source(std::unique_ptr<ByteSource> inner, const std::string& name);

}  // namespace sherd::chess
