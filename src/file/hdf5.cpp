#include "sherd/file/hdf5.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>

#include "sherd/base/error.hpp"
#include "sherd/base/log.hpp"
#include "sherd/base/narrow.hpp"

namespace sherd::h5 {
namespace {

struct Complaint {
  std::string first, last;  // the library's outermost and innermost messages
  bool disk_full = false;
};

herr_t collect(unsigned depth, const H5E_error2_t* error, void* data) {
  auto& complaint = *static_cast<Complaint*>(data);
  std::string text = error->desc == nullptr ? "" : error->desc;
  std::replace(text.begin(), text.end(), '\n', ' ');  // it quotes ctime()
  if (depth == 0) complaint.first = fmt::format("{}: {}", error->func_name, text);
  complaint.last = text;
  for (const int full : {ENOSPC, EDQUOT, EFBIG}) {
    if (text.find(fmt::format("errno = {},", full)) != std::string::npos) complaint.disk_full = true;
  }
  return 0;
}

void set_process_defaults() {
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);  // errors travel as exceptions; the library must not print them
  H5PLset_loading_state(0);                     // no code from a plugin directory, whatever the environment says
}

Plist file_access() {
  set_process_defaults();
  Plist access(HDF5_CHECK(H5Pcreate(H5P_FILE_ACCESS)));
  HDF5_CHECK(H5Pset_libver_bounds(access, H5F_LIBVER_V110, H5F_LIBVER_V110));
  HDF5_CHECK(H5Pset_fclose_degree(access, H5F_CLOSE_STRONG));  // a handle left open by an exception cannot pin the file
  return access;
}

std::vector<hsize_t> to_extent(std::span<const std::int64_t> shape) {
  std::vector<hsize_t> extent;
  for (const std::int64_t d : shape) extent.push_back(narrow<hsize_t>(d));
  return extent;
}

struct RangeSpaces {
  Dataspace memory, disk;
};

RangeSpaces select_range(hid_t dataset, std::int64_t first, std::int64_t count) {
  const hsize_t start = narrow<hsize_t>(first), n = narrow<hsize_t>(count);
  RangeSpaces spaces{Dataspace(HDF5_CHECK(H5Screate_simple(1, &n, nullptr))),
                     Dataspace(HDF5_CHECK(H5Dget_space(dataset)))};
  HDF5_CHECK(H5Sselect_hyperslab(spaces.disk, H5S_SELECT_SET, &start, nullptr, &n, nullptr));
  return spaces;
}

}  // namespace

std::int64_t check(std::int64_t result, const char* call, std::source_location at) {
  if (result >= 0) return result;
  Complaint complaint;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, collect, &complaint);
  H5Eclear2(H5E_DEFAULT);
  const std::string_view name = std::string_view(call).substr(0, std::string_view(call).find('('));
  const std::string message = complaint.first == complaint.last || complaint.last.empty()
                                  ? fmt::format("HDF5: {} failed ({})", name, complaint.first)
                                  : fmt::format("HDF5: {} failed ({}; {})", name, complaint.first, complaint.last);
  if (complaint.disk_full) throw Error(ExitCode::does_not_fit, message + "; free some space", at);
  throw Error(ExitCode::bad_input, message, at);
}

herr_t close_file(hid_t id) {
  const herr_t flushed = H5Fflush(id, H5F_SCOPE_LOCAL);
  return flushed < 0 ? flushed : H5Fclose(id);
}

void close_quietly(herr_t (*close)(hid_t), hid_t id) noexcept {
  if (close(id) >= 0) return;
  H5Eclear2(H5E_DEFAULT);
  log::warn("HDF5: closing a handle failed");
}

File create_file(const std::filesystem::path& path) {
  const Plist access = file_access();
  const Plist creation(HDF5_CHECK(H5Pcreate(H5P_FILE_CREATE)));
  HDF5_CHECK(H5Pset_obj_track_times(creation, false));  // the root group's; the same data give the same bytes
  return File(HDF5_CHECK(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, creation, access)));
}

File open_file(const std::filesystem::path& path) {
  const Plist access = file_access();
  const hid_t id = H5Fopen(path.c_str(), H5F_ACC_RDONLY, access);
  if (id < 0) {
    H5Eclear2(H5E_DEFAULT);
    const bool missing = !std::filesystem::exists(path);
    throw bad_input("{}: {}", path.string(), missing ? "there is no such file" : "not a readable HDF5 file");
  }
  return File(id);
}

Group create_group(hid_t parent, const std::string& name) {
  return Group(HDF5_CHECK(H5Gcreate2(parent, name.c_str(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)));
}

Dataspace make_space(std::span<const std::int64_t> shape) {
  const std::vector<hsize_t> extent = to_extent(shape);
  return Dataspace(HDF5_CHECK(H5Screate_simple(narrow<int>(extent.size()), extent.data(), nullptr)));
}

Dataset create_plain_dataset(hid_t parent, const std::string& name, hid_t type, std::span<const std::int64_t> shape) {
  const Dataspace space = make_space(shape);
  const Plist creation(HDF5_CHECK(H5Pcreate(H5P_DATASET_CREATE)));
  HDF5_CHECK(H5Pset_layout(creation, H5D_CONTIGUOUS));
  HDF5_CHECK(H5Pset_alloc_time(creation, H5D_ALLOC_TIME_EARLY));
  HDF5_CHECK(H5Pset_fill_time(creation, H5D_FILL_TIME_NEVER));
  HDF5_CHECK(H5Pset_obj_track_times(creation, false));  // the same data give the same bytes
  return Dataset(HDF5_CHECK(H5Dcreate2(parent, name.c_str(), type, space, H5P_DEFAULT, creation, H5P_DEFAULT)));
}

std::int64_t file_offset(hid_t dataset) {
  const haddr_t offset = H5Dget_offset(dataset);
  H5Eclear2(H5E_DEFAULT);
  return offset == HADDR_UNDEF ? -1 : narrow<std::int64_t>(offset);
}

void write_all(hid_t dataset, hid_t memory_type, const void* data) {
  HDF5_CHECK(H5Dwrite(dataset, memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data));
}

void write_range(hid_t dataset, hid_t memory_type, std::int64_t first, std::int64_t count, const void* data) {
  const RangeSpaces spaces = select_range(dataset, first, count);
  HDF5_CHECK(H5Dwrite(dataset, memory_type, spaces.memory, spaces.disk, H5P_DEFAULT, data));
}

void read_range(hid_t dataset, hid_t memory_type, std::int64_t first, std::int64_t count, void* out) {
  const RangeSpaces spaces = select_range(dataset, first, count);
  HDF5_CHECK(H5Dread(dataset, memory_type, spaces.memory, spaces.disk, H5P_DEFAULT, out));
}

}  // namespace sherd::h5
