#pragma once
// Digests of files: SHA-256 (FIPS 180-4), and git's name of a blob, SHA-1 over "blob SIZE\0" and the bytes.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace sherd {

class File;

class Digest {
 public:
  static Digest sha256();
  static Digest git_blob(std::int64_t size);
  Digest(Digest&&) noexcept;
  Digest& operator=(Digest&&) noexcept;
  ~Digest();

  void update(std::span<const std::byte> bytes);
  void update(std::string_view text);
  /// Lower-case hex digits. Once.
  std::string finish();

 private:
  struct Context;
  explicit Digest(const char* algorithm);
  std::unique_ptr<Context> context_;
};

std::string sha256_hex(std::string_view bytes);
/// Of bytes [0, size) of a file. Memory: 1 MiB.
std::string sha256_hex(const File& file);

}  // namespace sherd
