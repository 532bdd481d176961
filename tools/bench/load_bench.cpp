// load_bench [--dir D] [--mib N] [--ranks R]: the rate at which R processes load a bf16 safetensors model of N MiB,
// each its own share of every tensor, against one plain sequential read of the same file; both from a cold page cache
// (POSIX_FADV_DONTNEED), in turn, three times; prints medians. Checks that every byte of the data was read exactly
// once.
#include <fmt/core.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <vector>

#include "sherd/base/error.hpp"
#include "sherd/io/safetensors.hpp"
#include "sherd/io/safetensors_writer.hpp"

namespace {

using namespace sherd;
using Clock = std::chrono::steady_clock;

constexpr std::int64_t kTensors = 32;
constexpr std::int64_t kTransferElements = 1 << 20;  // what a rank hands on at a time

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Returns the path of a model with kTensors equal matrices.
std::filesystem::path write_model(const std::filesystem::path& directory, std::int64_t mib) {
  const std::int64_t rows = mib * (1 << 20) / 2 / kTensors / 1024;
  std::vector<TensorInfo> tensors;
  for (std::int64_t i = 0; i < kTensors; ++i) tensors.push_back({fmt::format("layer{}", i), DType::bf16, {rows, 1024}});
  SafetensorsWriter writer(directory, tensors);
  std::vector<float> row(1024);
  for (std::int64_t i = 0; i < kTensors * rows; ++i) {
    std::fill(row.begin(), row.end(), static_cast<float>(i));
    writer.append(row);
  }
  writer.finish();
  return directory / "model.safetensors";
}

double sequential_seconds(const std::filesystem::path& path) {
  const File file = File::open_read(path);
  file.drop_cache();
  const std::int64_t size = file.size();
  std::vector<std::byte> buffer(8 << 20);
  const auto start = Clock::now();
  for (std::int64_t at = 0; at < size; at += static_cast<std::int64_t>(buffer.size())) {
    const auto n = std::min(buffer.size(), static_cast<std::size_t>(size - at));
    file.pread_all(std::span(buffer).first(n), at);
  }
  return seconds_since(start);
}

/// What one rank does; returns the bytes that it read.
std::int64_t load_share(const std::filesystem::path& path, int rank, int ranks) {
  SafetensorsModel model(path);
  std::vector<float> out;
  for (std::int64_t i = 0; i < kTensors; ++i) {
    const std::string name = fmt::format("layer{}", i);
    const std::vector<std::int64_t> shape = model.shape(name);
    const std::int64_t elements = shape[0] * shape[1];
    const std::int64_t end = elements * (rank + 1) / ranks;
    for (std::int64_t first = elements * rank / ranks; first < end;) {
      out.resize(static_cast<std::size_t>(std::min(kTransferElements, end - first)));
      model.read(name, ParamState::master, first, out);
      first += static_cast<std::int64_t>(out.size());
    }
  }
  return model.bytes_read();
}

struct Load {
  double seconds = 0;
  std::int64_t bytes = 0;
};

Load load_by_ranks(const std::filesystem::path& path, int ranks) {
  File::open_read(path).drop_cache();
  int ends[2];
  SHERD_CHECK(::pipe(ends) == 0, "no pipe");
  std::fflush(stdout);
  const auto start = Clock::now();
  for (int rank = 0; rank < ranks; ++rank) {
    const pid_t child = ::fork();
    SHERD_CHECK(child >= 0, "no process");
    if (child > 0) continue;
    const std::int64_t bytes = load_share(path, rank, ranks);
    ::_exit(::write(ends[1], &bytes, sizeof bytes) == sizeof bytes ? 0 : 1);
  }
  Load load;
  for (int rank = 0; rank < ranks; ++rank) {
    int status = 0;
    SHERD_CHECK(::wait(&status) > 0 && status == 0, "a rank failed");
  }
  load.seconds = seconds_since(start);
  for (int rank = 0; rank < ranks; ++rank) {
    std::int64_t bytes = 0;
    SHERD_CHECK(::read(ends[0], &bytes, sizeof bytes) == sizeof bytes, "a rank said nothing");
    load.bytes += bytes;
  }
  ::close(ends[0]);
  ::close(ends[1]);
  return load;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void run(const std::filesystem::path& directory, std::int64_t mib, int ranks) {
  AtomicDirectory work(directory / "load_bench");  // never committed: removed at the end, whatever happens
  const std::filesystem::path path = write_model(work.work(), mib);
  std::vector<double> sequential, loading;
  for (int repeat = 0; repeat < 3; ++repeat) {
    sequential.push_back(sequential_seconds(path));
    const Load load = load_by_ranks(path, ranks);
    loading.push_back(load.seconds);
    SHERD_CHECK(load.bytes == SafetensorsModel(path).data_bytes(), "{} bytes were read of {}", load.bytes,
                SafetensorsModel(path).data_bytes());
  }
  const double mb = static_cast<double>(mib) * 1.048576;
  fmt::print(
      "load {} MiB bf16 on {} ranks: {:.0f} MB/s, sequential read {:.0f} MB/s, ratio {:.2f}; each byte read once\n",
      mib, ranks, mb / median(loading), mb / median(sequential), median(sequential) / median(loading));
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("rate of loading a model against the disk's own");
  std::string directory = ".";
  std::int64_t mib = 2048;
  int ranks = 4;
  app.add_option("--dir", directory, "where the model is written; on the disk to be measured");
  app.add_option("--mib", mib, "size of the model")->check(CLI::Range(64, 4000));
  app.add_option("--ranks", ranks)->check(CLI::Range(1, 64));
  CLI11_PARSE(app, argc, argv);
  try {
    run(directory, mib, ranks);
  } catch (const std::exception& e) {
    fmt::print(stderr, "load_bench: {}\n", e.what());
    return 1;
  }
  return 0;
}
