#include "sherd/file/posix.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <vector>

#include "temporary_directory.hpp"

namespace sherd {
namespace {

namespace fs = std::filesystem;

std::size_t entries(const fs::path& directory) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator(directory), fs::directory_iterator()));
}

TEST(File, ReadsWhatWasWritten) {
  const TemporaryDirectory dir;
  const File out = File::create(dir / "a");
  out.pwrite_all("world", 6);
  out.pwrite_all("hello ", 0);
  EXPECT_EQ(out.size(), 11);
  EXPECT_EQ(read_text(dir / "a", 11), "hello world");
  std::vector<std::byte> middle(3);
  File::open_read(dir / "a").pread_all(middle, 4);
  EXPECT_EQ(static_cast<char>(middle[0]), 'o');
  EXPECT_EQ(static_cast<char>(middle[2]), 'w');
}

TEST(File, RefusesWhatIsNotThereOrTooShort) {
  const TemporaryDirectory dir;
  EXPECT_BAD_INPUT(File::open_read(dir / "missing"), "missing: cannot open: No such file");
  EXPECT_BAD_INPUT(File::open_read(dir.path()), "not a regular file");
  ASSERT_EQ(::mkfifo((dir / "pipe").c_str(), 0600), 0);
  EXPECT_BAD_INPUT(File::open_read(dir / "pipe"), "not a regular file");
  File::create(dir / "short").pwrite_all("123", 0);
  std::vector<std::byte> four(4);
  EXPECT_BAD_INPUT(File::open_read(dir / "short").pread_all(four, 0), "ends at byte 3, 1 more were expected");
  EXPECT_BAD_INPUT(read_text(dir / "short", 2), "3 bytes; at most 2");
}

TEST(File, AFullDiskSaysSo) {
  struct rlimit before {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const TemporaryDirectory dir;
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  struct rlimit small = before;
  small.rlim_cur = 1000;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::vector<std::byte> data(1500);
  const std::string message = message_of(ExitCode::does_not_fit, [&] {
    AtomicFile file(dir / "a");
    file.file().pwrite_all(data, 0);
    file.commit();
  });
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_NE(message.find("free some space"), std::string::npos) << message;
  EXPECT_EQ(entries(dir.path()), 0u);
}

TEST(AtomicFile, AppearsOnlyWhenCommitted) {
  const TemporaryDirectory dir;
  File::create(dir / "a").pwrite_all("old", 0);
  {
    AtomicFile lost(dir / "a");
    lost.file().pwrite_all("new", 0);
    EXPECT_EQ(read_text(dir / "a", 10), "old");
    EXPECT_TRUE(is_temporary_name(lost.file().path()));
  }
  EXPECT_EQ(entries(dir.path()), 1u);
  AtomicFile kept(dir / "a");
  kept.file().pwrite_all("new", 0);
  kept.commit();
  EXPECT_EQ(read_text(dir / "a", 10), "new");
  EXPECT_EQ(entries(dir.path()), 1u);
}

TEST(AtomicDirectory, AppearsOnlyWhenCommitted) {
  const TemporaryDirectory dir;
  { const AtomicDirectory lost(dir / "d"); }
  EXPECT_EQ(entries(dir.path()), 0u);
  AtomicDirectory kept(dir / "d");
  File::create(kept.work() / "x").pwrite_all("x", 0);
  EXPECT_FALSE(fs::exists(dir / "d"));
  kept.commit();
  EXPECT_EQ(read_text(dir / "d" / "x", 10), "x");
  AtomicDirectory late(dir / "d");
  EXPECT_BAD_INPUT(late.commit(), "cannot rename");
}

TEST(TemporaryName, IsRecognised) {
  EXPECT_TRUE(is_temporary_name(temporary_name("/a/model.safetensors")));
  EXPECT_NE(temporary_name("a"), temporary_name("a"));
  EXPECT_FALSE(is_temporary_name("model.safetensors"));
  EXPECT_FALSE(is_temporary_name("step-00000001.tmp-xyzxyzxy"));
  EXPECT_FALSE(is_temporary_name("12345678"));
}

}  // namespace
}  // namespace sherd
