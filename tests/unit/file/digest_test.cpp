#include "sherd/file/digest.hpp"

#include <gtest/gtest.h>

#include "sherd/file/posix.hpp"
#include "temporary_directory.hpp"

namespace sherd {
namespace {

TEST(Digest, KnownAnswers) {  // FIPS 180-4, examples of NIST; `git hash-object`
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  Digest blob = Digest::git_blob(6);
  blob.update("hello\n");
  EXPECT_EQ(blob.finish(), "ce013625030ba8dba906f756967f9e9ca394464a");
}

TEST(Digest, OfAFileAndInParts) {
  const TemporaryDirectory dir;
  std::string text(3'000'000, 'x');
  for (std::size_t i = 0; i < text.size(); i += 7) text[i] = static_cast<char>(i);
  write_text(dir / "file", text);
  Digest parts = Digest::sha256();
  for (std::size_t at = 0; at < text.size(); at += 999) parts.update(std::string_view(text).substr(at, 999));
  EXPECT_EQ(parts.finish(), sha256_hex(text));
  EXPECT_EQ(sha256_hex(File::open_read(dir / "file")), sha256_hex(text));
}

}  // namespace
}  // namespace sherd
