// Every parser on mutated inputs: it gives a value or a sherd::Error, and takes no more memory than its input explains.
// SHERD_FUZZ_RUNS (2000): mutations per target. SHERD_FUZZ_FIRST (0): where they begin, to go on or to repeat one.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>

#include "mutate.hpp"
#include "sherd/base/error.hpp"
#include "target.hpp"
#include "temporary_directory.hpp"

namespace sherd::test {

std::filesystem::path as_file(const std::string& bytes, const std::filesystem::path& scratch) {
  const std::filesystem::path path = scratch / "input";
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
  return path;
}

namespace {

constexpr std::int64_t kMostMemoryKib = std::int64_t{512} << 10;

std::array<char, 128> running{};  // what a signal handler prints

void name_the_run(int signal) {
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, running.data(), std::strlen(running.data()));
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

std::int64_t peak_memory_kib() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

std::uint64_t setting(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

std::vector<FuzzTarget> all_targets() {
  std::vector<FuzzTarget> all = config_targets();
  for (const auto& more : {io_targets(), data_targets(), ops_targets(), chess_targets()})
    all.insert(all.end(), more.begin(), more.end());
  return all;
}

class Fuzz : public testing::TestWithParam<FuzzTarget> {
 protected:
  void SetUp() override {
    for (const int signal : {SIGSEGV, SIGABRT, SIGFPE, SIGBUS}) std::signal(signal, name_the_run);
  }
  TemporaryDirectory dir_;
};
INSTANTIATE_TEST_SUITE_P(Targets, Fuzz, testing::ValuesIn(all_targets()),
                         [](const auto& target) { return std::string(target.param.name); });

TEST_P(Fuzz, GivesAValueOrAnError) {
  const FuzzTarget& target = GetParam();
  const std::vector<std::string> seeds = target.seeds(dir_.path());
  for (const std::string& seed : seeds) ASSERT_NO_THROW(target.run(seed, dir_.path())) << seed.substr(0, 200);
  const std::uint64_t first = setting("SHERD_FUZZ_FIRST", 0), runs = setting("SHERD_FUZZ_RUNS", 2000);
  const std::int64_t memory_before = peak_memory_kib();
  std::uint64_t refused = 0;
  for (std::uint64_t run = first; run < first + runs; ++run) {
    const std::string input = Mutator(target.name, run).mutate(seeds);
    fmt::format_to_n(running.data(), running.size() - 1, "fuzz: {}, SHERD_FUZZ_FIRST={} SHERD_FUZZ_RUNS=1\n\0",
                     target.name, run);
    try {
      target.run(input, dir_.path());
    } catch (const Error& error) {
      ASSERT_NE(error.code(), ExitCode::internal) << running.data() << error.what();
      ++refused;
    } catch (const std::exception& error) {
      FAIL() << running.data() << error.what();
    }
  }
  EXPECT_GT(refused, runs / 20) << "nearly everything is taken";
  EXPECT_LT(refused, runs) << "nothing gets past the first check";
  EXPECT_LT(peak_memory_kib() - memory_before, kMostMemoryKib);
}

}  // namespace
}  // namespace sherd::test
