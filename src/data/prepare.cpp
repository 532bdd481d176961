#include "sherd/data/prepare.hpp"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <optional>
#include <thread>

#include "encode_pipeline.hpp"
#include "prepare_parts.hpp"
#include "sherd/base/error.hpp"
#include "sherd/base/log.hpp"
#include "sherd/base/narrow.hpp"
#include "sherd/base/rng.hpp"
#include "sherd/data/corpus.hpp"
#include "sherd/file/posix.hpp"

namespace sherd {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::int64_t kBlockBytes = std::int64_t{256} << 10;
constexpr std::int64_t kTrainingBlocks = 64;  // of the text that a tokenizer is trained on, evenly spread

void validate(const PrepareConfig& config) {
  if (config.inputs.empty()) throw usage_error("no input files; name at least one .jsonl or .txt file");
  if (config.output.empty()) throw usage_error("--output is missing: the corpus to write, such as corpus.h5");
  if (config.tokenizer.empty())
    throw usage_error(
        "--tokenizer is missing: a tokenizer.model to use, or to write with "
        "--train-tokenizer");
  if (config.train_tokenizer < 0)
    throw usage_error("--train-tokenizer is {}; give a number of pieces", config.train_tokenizer);
  if (!(config.eval_fraction >= 0 && config.eval_fraction < 1)) {
    throw usage_error("--eval-fraction is {}; it must be at least 0 and below 1", config.eval_fraction);
  }
  if (config.threads < 0 || config.threads > 1024)
    throw usage_error("--threads is {}; 0 (all cores) to 1024", config.threads);
}

std::int64_t total_bytes(std::span<const InputFile> inputs) {
  std::int64_t total = 0;
  for (const InputFile& input : inputs) total = checked_add(total, input.bytes);
  return total;
}

/// The documents of blocks spread evenly over the inputs.
class TrainingText {
 public:
  TrainingText(std::span<const InputFile> inputs, const PrepareConfig& config)
      : inputs_(inputs), total_(total_bytes(inputs)), skip_bad_lines_(config.skip_bad_lines) {}

  bool operator()(std::string& document) {
    while (true) {
      while (at_ >= block_.text.size()) {
        if (!next_block()) return false;
      }
      const std::size_t begin = at_, end = std::min(block_.text.find('\n', at_), block_.text.size());
      at_ = end + 1;
      const std::int64_t offset = block_.offset + narrow<std::int64_t>(begin);
      const std::string_view line = clean_line(std::string_view(block_.text).substr(begin, end - begin), offset);
      if (line.find_first_not_of(" \t") == std::string_view::npos) continue;
      const char* complaint = parse_line(block_.file->format, line, document);
      if (complaint == nullptr) return true;
      if (skip_bad_lines_) continue;
      throw bad_input("{}:{}: {}; correct the line, or leave out such lines with --skip-bad-lines", block_.file->path,
                      line_number(block_.file->path, offset), complaint);
    }
  }

 private:
  bool next_block() {
    at_ = 0;
    while (!range_ || !range_->next(block_)) {
      if (ranges_ == kTrainingBlocks) return false;
      const std::int64_t first = total_ / kTrainingBlocks * ranges_, share = total_ / kTrainingBlocks;
      const bool last = ++ranges_ == kTrainingBlocks;
      range_.emplace(inputs_, first, first + std::min(kBlockBytes, last ? total_ - first : share), kBlockBytes);
    }
    return true;
  }

  std::span<const InputFile> inputs_;
  std::int64_t total_;
  bool skip_bad_lines_;
  std::int64_t ranges_ = 0;
  std::optional<LineBlocks> range_;
  LineBlock block_;
  std::size_t at_ = 0;
};

/// Trained by rank 0 if asked for, read by all.
Tokenizer obtain_tokenizer(const PrepareConfig& config, std::span<const InputFile> inputs, Exchange& peers) {
  if (config.train_tokenizer > 0) {
    together(peers, [&] {
      if (peers.rank() != 0) return;
      log::info("prepare: training a tokenizer of {} pieces", config.train_tokenizer);
      train_tokenizer(TrainingText(inputs, config), config.train_tokenizer, config.tokenizer);
    });
  }
  std::optional<Tokenizer> tokenizer;
  together(peers, [&] {
    tokenizer.emplace(config.tokenizer);
    if (config.add_bos && tokenizer->bos_id() < 0)
      throw bad_input("{} has no bos piece; use --no-add-bos", config.tokenizer);
    if (config.add_eos && tokenizer->eos_id() < 0)
      throw bad_input("{} has no eos piece; use --no-add-eos", config.tokenizer);
  });
  for (const std::string& other : peers.all_gather(tokenizer->sha256())) {
    if (other == tokenizer->sha256()) continue;
    throw bad_input("{} is not the same file on all ranks; put it on a file system that they share", config.tokenizer)
        .told_by(0);
  }
  if (tokenizer->pieces() < config.train_tokenizer) {
    log::info("prepare: the text gives {} pieces, fewer than {}", tokenizer->pieces(), config.train_tokenizer);
  }
  return std::move(*tokenizer);
}

/// A line a second, from rank 0, about all ranks: it supposes that the others are as far as itself.
class Progress {
 public:
  Progress(std::int64_t share, int ranks) : share_(share), ranks_(ranks) {}
  void add(std::int64_t bytes) {
    done_ += bytes;
    const auto now = Clock::now();
    if (now - shown_ < std::chrono::seconds(1)) return;
    shown_ = now;
    const double seconds = std::chrono::duration<double>(now - start_).count();
    const double rate = static_cast<double>(done_) / seconds;
    log::info("prepare: {:.1f} of {:.1f} MB ({:.0f}%), {:.1f} MB/s, {:.0f} s left", megabytes(done_), megabytes(share_),
              100.0 * static_cast<double>(done_) / static_cast<double>(share_), rate * ranks_ / 1e6,
              static_cast<double>(std::max<std::int64_t>(share_ - done_, 0)) / rate);
  }

 private:
  double megabytes(std::int64_t bytes) const { return static_cast<double>(bytes) * ranks_ / 1e6; }
  std::int64_t share_, done_ = 0;
  int ranks_;
  Clock::time_point start_ = Clock::now(), shown_ = start_;
};

void encode_share(const PrepareConfig& config, std::span<const InputFile> inputs, const Tokenizer& tokenizer,
                  Exchange& peers, PartWriter& part) {
  const std::int64_t total = total_bytes(inputs), rank = peers.rank(), size = peers.size();
  const auto edge = [&](std::int64_t r) { return total / size * r + total % size * r / size; };
  LineBlocks lines(inputs, edge(rank), edge(rank + 1), kBlockBytes);
  const std::int64_t cores = std::max<std::int64_t>(1, std::thread::hardware_concurrency());
  const EncodeOptions options{config.skip_bad_lines, config.add_bos ? tokenizer.bos_id() : -1,
                              config.add_eos ? tokenizer.eos_id() : -1, tokenizer.pieces() <= 65536 ? 2 : 4,
                              config.threads > 0 ? config.threads : cores};
  Progress progress(edge(rank + 1) - edge(rank), peers.size());
  encode_lines(lines, tokenizer, options, [&](const EncodedBlock& block) {
    part.append(block);
    progress.add(block.bytes);
  });
}

std::string names_of(std::span<const std::string> paths) {
  constexpr std::size_t kMost = 4000;  // an attribute is at most 64 KB
  std::string names;
  for (const std::string& path : paths)
    names += (names.empty() ? "" : ", ") + std::filesystem::path(path).filename().string();
  return names.size() <= kMost ? names : fmt::format("{} files", paths.size());
}

std::int64_t count_held_out(const std::string& path) {
  const Corpus corpus(path);
  std::int64_t held_out = 0;
  for (std::int64_t d = 0; d < corpus.info().documents; ++d) held_out += corpus.split_of(d) == Split::eval;
  return held_out;
}

}  // namespace

PrepareReport prepare(const PrepareConfig& config, Exchange& peers) {
  const auto start = Clock::now();
  std::vector<InputFile> inputs;
  together(peers, [&] {
    validate(config);
    inputs = open_inputs(config.inputs, config.format);
  });
  const Tokenizer tokenizer = obtain_tokenizer(config, inputs, peers);
  PartsDirectory directory(config.output, peers);
  PartCounts mine;
  together(peers, [&] {
    PartWriter part(directory.path(), peers.rank());
    encode_share(config, inputs, tokenizer, peers, part);
    mine = part.finish();
  });
  const std::vector<PartCounts> parts = gather_counts(mine, peers);
  PrepareReport result;
  CorpusInfo info;
  for (const PartCounts& part : parts) {
    info.documents += part.documents;
    info.tokens += part.tokens;
    result.bad_lines += part.bad_lines;
  }
  if (info.documents == 0) {
    throw bad_input("there is no document in {} ({} bytes, {} broken lines): an empty corpus trains nothing",
                    names_of(config.inputs), total_bytes(inputs), result.bad_lines)
        .told_by(0);
  }
  info.pieces = tokenizer.pieces();
  info.tokenizer_sha256 = tokenizer.sha256();
  info.source = names_of(config.inputs);
  info.eval_fraction = config.eval_fraction;
  info.split_seed = static_cast<std::uint64_t>(config.seed);
  together(peers, [&] {
    if (peers.rank() == 0) join_parts(directory.path(), parts, config.output, info);
  });
  result.documents = info.documents;
  result.tokens = info.tokens;
  result.bytes = total_bytes(inputs);
  result.held_out = count_held_out(config.output);
  result.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  return result;
}

}  // namespace sherd
