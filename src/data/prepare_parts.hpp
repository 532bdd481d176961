#pragma once
// The parts of a corpus between the ranks that encode and the rank that joins: per rank a file of tokens and a file of
// document lengths, in a temporary directory beside the output.
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "encode_pipeline.hpp"
#include "sherd/data/corpus.hpp"
#include "sherd/data/exchange.hpp"
#include "sherd/file/posix.hpp"

namespace sherd {

struct PartCounts {
  std::int64_t documents = 0, tokens = 0, bad_lines = 0;
};
std::vector<PartCounts> gather_counts(const PartCounts& mine, Exchange& peers);

/// Made and, with all that is in it, removed by rank 0. Collective.
class PartsDirectory {
 public:
  PartsDirectory(const std::filesystem::path& output, Exchange& peers);
  PartsDirectory(const PartsDirectory&) = delete;
  ~PartsDirectory();
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  bool owner_;
};

class PartWriter {
 public:
  PartWriter(const std::filesystem::path& directory, int rank);
  void append(const EncodedBlock& block);
  PartCounts finish();

 private:
  File tokens_, lengths_;
  std::int64_t tokens_at_ = 0, lengths_at_ = 0;  // bytes
  PartCounts counts_;
};

/// Writes the corpus `info` (its checksums are computed here) from the parts in rank order.
void join_parts(const std::filesystem::path& directory, const std::vector<PartCounts>& parts, const std::string& output,
                const CorpusInfo& info);

}  // namespace sherd
