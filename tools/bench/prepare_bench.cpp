// prepare_bench INPUT.jsonl [MEGABYTES] [THREADS]: the rate of `sherd prepare` against a bare loop over sentencepiece's
// Encode on the same documents, held in memory, and the same threads. The input is repeated up to MEGABYTES (100). Each
// is timed five times, in turns; medians are printed, with the program's peak memory (the bare loop's documents
// excluded: it runs in a process of its own). Exit 1 when the ratio is below 0.9 or the memory above 300 MB.
#include <sentencepiece_processor.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "sherd/base/error.hpp"
#include "sherd/data/prepare.hpp"
#include "sherd/data/text_lines.hpp"

namespace {

using namespace sherd;
using Clock = std::chrono::steady_clock;

constexpr int kRuns = 5;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::int64_t repeat_input(const std::string& from, const std::string& to, std::int64_t bytes) {
  std::ifstream in(from, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  if (text.empty()) throw bad_input("{}: empty or missing", from);
  std::ofstream out(to, std::ios::binary);
  std::int64_t written = 0;
  for (; written < bytes; written += static_cast<std::int64_t>(text.size())) out << text;
  return written;
}

double bare_loop(const std::string& input, const std::string& tokenizer, std::int64_t threads) {
  std::vector<std::string> documents;
  std::ifstream in(input, std::ios::binary);
  for (std::string line, document; std::getline(in, line);) {
    if (parse_line(TextFormat::jsonl, line, document) == nullptr) documents.push_back(document);
  }
  sentencepiece::SentencePieceProcessor processor;
  SHERD_CHECK(processor.Load(tokenizer).ok(), "{}", tokenizer);
  const auto start = Clock::now();
  std::vector<std::thread> workers;
  for (std::int64_t t = 0; t < threads; ++t) {
    workers.emplace_back([&, t] {
      std::vector<int> ids;
      for (auto i = static_cast<std::size_t>(t); i < documents.size(); i += static_cast<std::size_t>(threads)) {
        SHERD_CHECK(processor.Encode(documents[i], &ids).ok(), "document {}", i);
      }
    });
  }
  for (std::thread& worker : workers) worker.join();
  return seconds_since(start);
}

/// Seconds that `work` reports, from a child process, and the child's peak memory.
template <class Work>
std::pair<double, double> in_child(const Work& work) {
  int ends[2];
  SHERD_CHECK(::pipe(ends) == 0, "pipe");
  const pid_t child = ::fork();
  if (child == 0) {
    const double seconds = work();
    const bool told = ::write(ends[1], &seconds, sizeof seconds) == sizeof seconds;
    std::_Exit(told ? 0 : 1);
  }
  double seconds = 0;
  rusage usage{};
  int status = 0;
  SHERD_CHECK(::wait4(child, &status, 0, &usage) == child && status == 0, "the child process failed");
  SHERD_CHECK(::read(ends[0], &seconds, sizeof seconds) == sizeof seconds, "read");
  ::close(ends[0]);
  ::close(ends[1]);
  return {seconds, static_cast<double>(usage.ru_maxrss) * 1024};
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

int run(const std::string& source, std::int64_t megabytes, std::int64_t threads, const std::string& directory) {
  PrepareConfig config;
  config.inputs = {directory + "/input.jsonl"};
  config.output = directory + "/corpus.h5";
  config.tokenizer = directory + "/tokenizer.model";
  config.threads = threads;
  const double megabytes_read = static_cast<double>(repeat_input(source, config.inputs[0], megabytes * 1000000)) / 1e6;
  const double training_memory = in_child([&] {
                                   config.inputs = {source};
                                   config.train_tokenizer = 2048;
                                   return prepare(config, *self_exchange()).seconds;
                                 }).second;
  std::vector<double> bare, prepared;
  double memory = training_memory;
  for (int i = 0; i < kRuns; ++i) {
    bare.push_back(in_child([&] { return bare_loop(config.inputs[0], config.tokenizer, threads); }).first);
    const auto [seconds, peak] = in_child([&] { return prepare(config, *self_exchange()).seconds; });
    prepared.push_back(seconds);
    memory = std::max(memory, peak);
  }
  const double ratio = median(bare) / median(prepared);
  std::printf(
      "prepare: %.1f MB on %lld threads: sentencepiece alone %.2f MB/s, prepare %.2f MB/s, ratio %.3f, "
      "peak memory %.0f MB\n",
      megabytes_read, static_cast<long long>(threads), megabytes_read / median(bare), megabytes_read / median(prepared),
      ratio, memory / 1e6);
  return ratio >= 0.9 && memory <= 300e6 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: prepare_bench INPUT.jsonl [MEGABYTES] [THREADS]\n");
    return 2;
  }
  std::string directory = (std::filesystem::temp_directory_path() / "prepare-bench-XXXXXX").string();
  if (::mkdtemp(directory.data()) == nullptr) return 1;
  int result = 1;
  try {
    result = run(argv[1], argc > 2 ? std::stoll(argv[2]) : 100,
                 argc > 3 ? std::stoll(argv[3]) : std::max(1u, std::thread::hardware_concurrency()), directory);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "prepare_bench: %s\n", error.what());
  }
  std::filesystem::remove_all(directory);
  return result;
}
