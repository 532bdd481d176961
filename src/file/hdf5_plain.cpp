// Reading what may be hostile: plain datasets and attributes.
#include <algorithm>

#include "sherd/base/error.hpp"
#include "sherd/base/narrow.hpp"
#include "sherd/file/hdf5.hpp"

namespace sherd::h5 {
namespace {

constexpr std::size_t kLongestString = 1 << 20;  // bytes of an attribute
constexpr int kMostDims = 4;

bool is_one_of(hid_t type, std::initializer_list<hid_t> types) {
  return std::any_of(types.begin(), types.end(), [&](hid_t t) { return H5Tequal(type, t) > 0; });
}

/// What makes a dataset other than plain, or nullptr.
const char* not_plain(hid_t dataset) {
  const Plist creation(HDF5_CHECK(H5Dget_create_plist(dataset)));
  switch (HDF5_CHECK(H5Pget_layout(creation))) {
    case H5D_CONTIGUOUS:
      break;
    case H5D_VIRTUAL:
      return "is virtual";
    case H5D_CHUNKED:
      return "is chunked";
    default:
      return "is not contiguous";
  }
  if (HDF5_CHECK(H5Pget_nfilters(creation)) != 0) return "is filtered";
  if (HDF5_CHECK(H5Pget_external_count(creation)) != 0) return "keeps its data in another file";
  return nullptr;
}

std::vector<std::int64_t> shape_of(hid_t dataset, const std::string& where) {
  const Dataspace space(HDF5_CHECK(H5Dget_space(dataset)));
  const auto rank = HDF5_CHECK(H5Sget_simple_extent_ndims(space));
  if (rank > kMostDims || H5Sget_simple_extent_type(space) != H5S_SIMPLE) {
    throw bad_input("{}: not an array of at most {} dimensions", where, kMostDims);
  }
  hsize_t extent[kMostDims] = {};
  HDF5_CHECK(H5Sget_simple_extent_dims(space, extent, nullptr));
  std::vector<std::int64_t> shape;
  for (std::int64_t i = 0; i < rank; ++i) shape.push_back(narrow<std::int64_t>(extent[i]));
  return shape;
}

void require_inside_file(const PlainDataset& plain, hid_t file, const std::string& where) {
  hsize_t file_size = 0;
  HDF5_CHECK(H5Fget_filesize(file, &file_size));
  std::int64_t bytes = 0, end = 0;
  const bool overflow = __builtin_mul_overflow(plain.elements, plain.element_size, &bytes) ||
                        __builtin_add_overflow(bytes, std::max<std::int64_t>(plain.offset, 0), &end);
  if (overflow) throw bad_input("{}: {} elements are more than any file holds", where, plain.elements);
  if (bytes == 0) return;
  if (plain.offset < 0) throw bad_input("{}: holds no data; the file was not finished, write it again", where);
  if (end > narrow<std::int64_t>(file_size)) {
    throw bad_input("{}: its {} bytes at {} end after the file ({} bytes): truncated; write it again", where, bytes,
                    plain.offset, file_size);
  }
}

Attribute open_attribute(hid_t object, const std::string& name) {
  if (!has_attribute(object, name)) throw bad_input("HDF5: the attribute \"{}\" is missing", name);
  Attribute attribute(HDF5_CHECK(H5Aopen(object, name.c_str(), H5P_DEFAULT)));
  const Dataspace space(HDF5_CHECK(H5Aget_space(attribute)));
  if (H5Sget_simple_extent_type(space) != H5S_SCALAR) throw bad_input("HDF5: attribute \"{}\" is not a scalar", name);
  return attribute;
}

template <class T>
T read_number(hid_t object, const std::string& name, H5T_class_t expected, hid_t memory_type) {
  const Attribute attribute = open_attribute(object, name);
  const Type type(HDF5_CHECK(H5Aget_type(attribute)));
  if (H5Tget_class(type) != expected) throw bad_input("HDF5: the attribute \"{}\" has another type", name);
  T value{};
  HDF5_CHECK(H5Aread(attribute, memory_type, &value));
  return value;
}

void write_scalar(hid_t object, const std::string& name, hid_t file_type, hid_t memory_type, const void* value) {
  const Dataspace space(HDF5_CHECK(H5Screate(H5S_SCALAR)));
  const Attribute attribute(HDF5_CHECK(H5Acreate2(object, name.c_str(), file_type, space, H5P_DEFAULT, H5P_DEFAULT)));
  HDF5_CHECK(H5Awrite(attribute, memory_type, value));
}

Type string_type(std::size_t bytes) {
  Type type(HDF5_CHECK(H5Tcopy(H5T_C_S1)));
  HDF5_CHECK(H5Tset_size(type, bytes));
  HDF5_CHECK(H5Tset_cset(type, H5T_CSET_UTF8));
  HDF5_CHECK(H5Tset_strpad(type, H5T_STR_NULLPAD));
  return type;
}

}  // namespace

bool has_object(hid_t file, const std::string& path) {
  for (std::size_t end = 0; end < path.size();) {
    end = std::min(path.find('/', end + 1), path.size());
    const std::string prefix = path.substr(0, end);
    if (prefix == "/") continue;
    H5L_info_t info{};
    if (H5Lexists(file, prefix.c_str(), H5P_DEFAULT) <= 0 ||
        H5Lget_info(file, prefix.c_str(), &info, H5P_DEFAULT) < 0 || info.type != H5L_TYPE_HARD) {
      H5Eclear2(H5E_DEFAULT);
      return false;
    }
  }
  return true;
}

PlainDataset open_plain_dataset(const File& file, const std::string& path, std::initializer_list<hid_t> types,
                                const std::filesystem::path& file_name) {
  const std::string where = file_name.string() + path;
  if (!has_object(file, path)) throw bad_input("{}: there is no such dataset in the file itself", where);
  const hid_t id = H5Dopen2(file, path.c_str(), H5P_DEFAULT);
  H5Eclear2(H5E_DEFAULT);
  if (id < 0) throw bad_input("{}: not a dataset", where);
  PlainDataset plain;
  plain.dataset = Dataset(id);
  if (const char* why = not_plain(id)) throw bad_input("{}: {}; only contiguous, unfiltered data are read", where, why);
  const Type type(HDF5_CHECK(H5Dget_type(id)));
  if (!is_one_of(type, types)) throw bad_input("{}: elements of an unexpected type", where);
  plain.element_size = narrow<std::int64_t>(H5Tget_size(type));
  plain.shape = shape_of(id, where);
  plain.elements = 1;
  for (const std::int64_t d : plain.shape) {
    if (__builtin_mul_overflow(plain.elements, d, &plain.elements)) throw bad_input("{}: impossibly large", where);
  }
  plain.offset = file_offset(id);
  require_inside_file(plain, file, where);
  return plain;
}

void write_attribute(hid_t object, const std::string& name, std::int64_t value) {
  write_scalar(object, name, H5T_STD_I64LE, H5T_NATIVE_INT64, &value);
}

void write_attribute(hid_t object, const std::string& name, double value) {
  write_scalar(object, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, &value);
}

void write_attribute(hid_t object, const std::string& name, std::string_view text) {
  const Type type = string_type(std::max<std::size_t>(text.size(), 1));  // the library has no strings of length 0
  const std::string padded(text.empty() ? std::string(1, '\0') : std::string(text));
  write_scalar(object, name, type, type, padded.data());
}

bool has_attribute(hid_t object, const std::string& name) {
  return H5Aexists(object, name.c_str()) > 0;
}

std::int64_t read_int_attribute(hid_t object, const std::string& name) {
  return read_number<std::int64_t>(object, name, H5T_INTEGER, H5T_NATIVE_INT64);
}

double read_real_attribute(hid_t object, const std::string& name) {
  return read_number<double>(object, name, H5T_FLOAT, H5T_NATIVE_DOUBLE);
}

std::string read_string_attribute(hid_t object, const std::string& name) {
  const Attribute attribute = open_attribute(object, name);
  const Type type(HDF5_CHECK(H5Aget_type(attribute)));
  const std::size_t bytes = H5Tget_size(type);
  if (H5Tget_class(type) != H5T_STRING || H5Tis_variable_str(type) != 0 || bytes > kLongestString) {
    throw bad_input("HDF5: the attribute \"{}\" is not a fixed-length string of at most {} bytes", name,
                    kLongestString);
  }
  std::string text(bytes, '\0');
  HDF5_CHECK(H5Aread(attribute, type, text.data()));
  text.resize(std::min(text.find('\0'), text.size()));
  return text;
}

}  // namespace sherd::h5
