#pragma once
// HDF5 behind owning handles. The library is not thread-safe: one thread of a process uses it. Files are opened with
// the serial driver; a file that somebody else made is hostile, so plugins stay off, and open_plain_dataset follows
// nothing but hard links to contiguous, unfiltered data inside the file itself.
#include <hdf5.h>

#include <cstdint>
#include <filesystem>
#include <source_location>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sherd::h5 {

/// `result` if it is not negative, else an Error with the library's message: does_not_fit when the disk was full.
std::int64_t check(std::int64_t result, const char* call, std::source_location at = std::source_location::current());

/// A closing call that must not throw: logs.
void close_quietly(herr_t (*close)(hid_t), hid_t id) noexcept;

template <herr_t (*Close)(hid_t)>
class Handle {
 public:
  Handle() = default;
  explicit Handle(hid_t id) : id_(id) {}  // takes ownership
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(id_, other.id_);
    return *this;
  }
  ~Handle() {
    if (id_ >= 0) close_quietly(Close, id_);
  }
  hid_t get() const { return id_; }
  operator hid_t() const { return id_; }  // so that a handle can be handed to the library's functions
  explicit operator bool() const { return id_ >= 0; }
  /// Closes now and reports failure: for files, that is where buffered writes fail.
  void close(std::source_location at = std::source_location::current()) {
    if (id_ >= 0) check(Close(std::exchange(id_, -1)), "close", at);
  }

 private:
  hid_t id_ = -1;
};

/// H5Fclose, but only of a file whose last bytes could be written. When a close fails half-way (a full disk), the
/// library frees the file yet keeps its identifier, and crashes over it at exit; a file that cannot be flushed stays
/// open instead.
herr_t close_file(hid_t id);

using File = Handle<close_file>;
using Group = Handle<H5Gclose>;
using Dataset = Handle<H5Dclose>;
using Dataspace = Handle<H5Sclose>;
using Type = Handle<H5Tclose>;
using Plist = Handle<H5Pclose>;
using Attribute = Handle<H5Aclose>;

/// A new file of the 1.10 format (what h5py, MATLAB and old libraries read); what was there is lost.
File create_file(const std::filesystem::path& path);
/// For reading. bad_input if it is missing or is not HDF5.
File open_file(const std::filesystem::path& path);

Group create_group(hid_t parent, const std::string& name);
/// 1-D or n-D simple space.
Dataspace make_space(std::span<const std::int64_t> shape);
/// Contiguous, no filters, space reserved at once, never filled. `type` is e.g. H5T_NATIVE_FLOAT.
Dataset create_plain_dataset(hid_t parent, const std::string& name, hid_t type, std::span<const std::int64_t> shape);
/// Where the data of a contiguous dataset begin in the file (-1 if it has none).
std::int64_t file_offset(hid_t dataset);
/// The whole dataset, or `count` elements of a 1-D one; memory has the dataset's own element type.
void write_all(hid_t dataset, hid_t memory_type, const void* data);
void write_range(hid_t dataset, hid_t memory_type, std::int64_t first, std::int64_t count, const void* data);
void read_range(hid_t dataset, hid_t memory_type, std::int64_t first, std::int64_t count, void* out);

struct PlainDataset {
  Dataset dataset;
  std::vector<std::int64_t> shape;
  std::int64_t elements = 0;
  std::int64_t element_size = 0;  // bytes
  std::int64_t offset = 0;        // of the first element in the file: pread may be used instead of the library
};

/// The dataset at an absolute path such as "/tokens". bad_input (naming `file_name` and the path) if it is missing,
/// reached by a soft or external link, virtual, chunked, filtered, stored externally or never written, if its data lie
/// outside the file, or if its element type is none of `types` (H5T_NATIVE_UINT16 ...).
PlainDataset open_plain_dataset(const File& file, const std::string& path, std::initializer_list<hid_t> types,
                                const std::filesystem::path& file_name);

/// True if every link of the path exists and is a hard one.
bool has_object(hid_t file, const std::string& path);

void write_attribute(hid_t object, const std::string& name, std::int64_t value);
void write_attribute(hid_t object, const std::string& name, double value);
void write_attribute(hid_t object, const std::string& name, std::string_view text);  // fixed length, UTF-8
bool has_attribute(hid_t object, const std::string& name);
/// bad_input if it is missing or of another kind; a string longer than 1 MiB is refused.
std::int64_t read_int_attribute(hid_t object, const std::string& name);
double read_real_attribute(hid_t object, const std::string& name);
std::string read_string_attribute(hid_t object, const std::string& name);

}  // namespace sherd::h5

/// The result of an HDF5 call, or an Error. h5::Group g(HDF5_CHECK(H5Gopen2(file, "master", H5P_DEFAULT)));
#define HDF5_CHECK(call) (::sherd::h5::check((call), #call))
