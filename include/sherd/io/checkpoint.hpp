#pragma once
// Checkpoints: a directory step-00000100/ that appears whole or not at all, holding
//   rank-0003.h5   one serial HDF5 file per writing rank: contiguous f32 datasets /master/NAME@FIRST, /m/..., /v/...
//   manifest.json  where every piece lies, with a CRC-32C of each block of at most 4 MiB; its first line is its own CRC
//   model.h5       an index of virtual datasets in which h5ls, h5py or MATLAB see every parameter whole
// Reading goes through the manifest with pread, so any world size loads what any other wrote. No MPI here: the caller
// says who is rank 0, gathers strings and sets barriers. HDF5 is not thread-safe: one thread of a process writes.
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sherd/file/hdf5.hpp"
#include "sherd/io/param_source.hpp"

namespace sherd {

struct CheckpointPiece;  // one entry of the manifest

struct CheckpointMetadata {
  std::int64_t step = 0;
  std::int64_t tokens_seen = 0;
  int world_size = 1;              // ranks that wrote: one file each
  std::string config_json = "{}";  // the run's configuration, one JSON value
  std::string tokenizer_sha256{};  // of the corpus that was trained on; empty: not known
  std::string algorithms{};        // that the products were computed by (Ops::choose_algorithms); empty: none chosen
};

// ---- writing, in this order
// --------------------------------------------------------------------------------------------

/// Rank 0, before anybody writes: makes OUTPUT/step-XXXXXXXX.tmp, after removing what an interrupted save left behind.
void begin_checkpoint(const std::filesystem::path& output, std::int64_t step);

/// Each rank: its own pieces into its own file.
class CheckpointWriter {
 public:
  CheckpointWriter(const std::filesystem::path& output, std::int64_t step, int rank);
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  /// Begins a piece: elements [first, first + count) of the flattened parameter, without padding. `shape` is the whole
  /// logical shape, of one or two dims. Errors: does_not_fit when the disk is full; earlier checkpoints are untouched.
  void begin_piece(std::string_view name, std::span<const std::int64_t> shape, ParamState state, std::int64_t first,
                   std::int64_t count);
  /// Its next elements, in order.
  void append(std::span<const float> elements);
  /// A piece at once.
  void add(std::string_view name, std::span<const std::int64_t> shape, ParamState state, std::int64_t first,
           std::span<const float> elements);
  /// Closes and fsyncs the file; returns this rank's part of the manifest, for rank 0 to gather.
  std::string finish();

 private:
  /// Removes the file unless it was finished, so that a full disk gets its space back. Outlives the handles below.
  struct Unfinished {
    std::filesystem::path path;
    bool keep = false;
    ~Unfinished();
  };
  Unfinished unfinished_;
  int rank_;
  h5::File file_;
  std::vector<h5::Group> groups_;  // by ParamState
  void end_piece();

  std::vector<CheckpointPiece> written_;  // the last one is still written while dataset_ is open
  h5::Dataset dataset_;
  std::int64_t appended_ = 0;  // elements of it
};

/// Rank 0, after every rank finished: `parts` are the strings of all ranks. Refuses unless the pieces of every
/// parameter cover it exactly once; writes manifest and index, fsyncs, calls `before_rename` (when all is on the disk,
/// and what a full disk can spoil is over), renames the directory into place, then keeps the `keep` newest checkpoints
/// (0: all), the one just written among them; one that cannot be removed is warned about. Returns the checkpoint's
/// directory.
std::filesystem::path commit_checkpoint(const std::filesystem::path& output, const CheckpointMetadata& metadata,
                                        const std::vector<std::string>& parts, int keep,
                                        const std::function<void()>& before_rename = {});

// ---- reading
// -----------------------------------------------------------------------------------------------------------

/// The committed checkpoints in a directory, newest step first. None if the directory is missing.
std::vector<std::filesystem::path> list_checkpoints(const std::filesystem::path& output);

/// The newest one whose manifest is whole and whose files have their sizes (data are verified as they are read). Those
/// that are not are warned about. On a large run let one rank ask and tell the others.
std::optional<std::filesystem::path> find_newest_good(const std::filesystem::path& output);

class CheckpointReader : public ParamSource {
 public:
  /// bad_input if the manifest is damaged or a file is missing or has another size.
  explicit CheckpointReader(const std::filesystem::path& directory);
  ~CheckpointReader() override;

  const CheckpointMetadata& metadata() const;
  std::vector<std::string> names() const;
  std::vector<std::int64_t> shape(std::string_view name) const override;
  bool has(std::string_view name, ParamState state) const override;
  /// Every block touched is verified first; bad_input says which file is damaged. Memory: one block.
  void read(std::string_view name, ParamState state, std::int64_t first, std::span<float> out) override;
  /// Reads and verifies every byte of the checkpoint, or what there is of one state.
  void verify();
  void verify(ParamState state);
  std::int64_t bytes_read() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sherd
