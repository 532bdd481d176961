#pragma once
// A checkpoint's manifest: what lies where, and its checksums. Private to io/.
#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "sherd/file/posix.hpp"
#include "sherd/io/checkpoint.hpp"

namespace sherd {

inline constexpr std::int64_t kBlockElements = 1 << 20;  // 4 MiB: the unit of a checksum
inline constexpr int kStates = 3;
inline constexpr std::string_view kManifestName = "manifest.json", kIndexName = "model.h5";

struct CheckpointPiece {
  std::string name;
  ParamState state = ParamState::master;
  std::vector<std::int64_t> shape;  // of the whole parameter
  std::int64_t first = 0, count = 0;
  std::int64_t offset = 0;          // bytes, in the rank's file
  std::vector<std::uint32_t> crcs;  // of each block, the last may be shorter

  std::int64_t end() const { return first + count; }
  std::int64_t bytes() const { return count * 4; }
  std::string dataset() const;  // "/master/model.norm.weight@128"
};

struct RankFile {
  int rank = 0;
  std::int64_t bytes = 0;
  std::uint32_t rest_crc = 0;           // of the bytes between the pieces: HDF5's own structures
  std::vector<CheckpointPiece> pieces;  // by offset

  std::string name() const;  // "rank-0003.h5"
  std::string to_json() const;
};

/// What the checksum of a file's rest covers, read from the file. `pieces` by offset, not overlapping.
std::uint32_t crc_of_rest(const File& file, std::int64_t bytes, const std::vector<CheckpointPiece>& pieces);
std::uint32_t crc_of_file(const File& file);

class Manifest {
 public:
  struct Location {
    std::size_t file;  // in files
    CheckpointPiece piece;
  };
  struct Parameter {
    std::vector<std::int64_t> shape;
    std::array<std::vector<Location>, kStates> pieces;  // by state, then by first element; empty: no such state
  };

  /// Of a commit: the ranks' parts.
  Manifest(CheckpointMetadata metadata, const std::vector<std::string>& parts);
  /// Of a checkpoint on disk.
  static Manifest load(const std::filesystem::path& path);

  std::string to_text() const;

  CheckpointMetadata metadata;
  std::vector<RankFile> files;  // by rank
  std::map<std::string, Parameter, std::less<>> parameters;
  std::int64_t index_bytes = 0;
  std::uint32_t index_crc = 0;

 private:
  Manifest() = default;
  void add_file(RankFile file, const std::string& where);
  void sort_and_check_coverage(const std::string& where);
};

/// Writes model.h5 beside the rank files.
void write_index(const std::filesystem::path& path, const Manifest& manifest);

}  // namespace sherd
