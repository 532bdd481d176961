// model.h5: every parameter whole, as an HDF5 virtual dataset over the rank files. A piece is a range of the flattened
// parameter; in a matrix of C columns it is up to three rectangles: the end of a row, whole rows, the beginning of a
// row.
#include <algorithm>

#include "manifest.hpp"
#include "sherd/base/error.hpp"

namespace sherd {
namespace {

struct Rectangle {
  hsize_t start[2], size[2];  // in the matrix
};

std::vector<Rectangle> rectangles(std::int64_t first, std::int64_t count, std::int64_t columns) {
  std::vector<Rectangle> list;
  while (count > 0) {
    const std::int64_t row = first / columns, column = first % columns;
    const bool whole_rows = column == 0 && count >= columns;
    const std::int64_t rows = whole_rows ? count / columns : 1;
    const std::int64_t width = whole_rows ? columns : std::min(count, columns - column);
    list.push_back({{static_cast<hsize_t>(row), static_cast<hsize_t>(column)},
                    {static_cast<hsize_t>(rows), static_cast<hsize_t>(width)}});
    first += rows * width;
    count -= rows * width;
  }
  return list;
}

void map_piece(hid_t creation, hid_t whole, const std::vector<std::int64_t>& shape, const std::string& file,
               const CheckpointPiece& piece) {
  const bool matrix = shape.size() == 2;
  const std::int64_t length[] = {piece.count};
  const h5::Dataspace source = h5::make_space(length);
  hsize_t done = 0;
  for (const Rectangle& r : rectangles(piece.first, piece.count, matrix ? shape[1] : 1)) {
    const hsize_t elements = r.size[0] * r.size[1];
    HDF5_CHECK(H5Sselect_hyperslab(source, H5S_SELECT_SET, &done, nullptr, &elements, nullptr));
    HDF5_CHECK(H5Sselect_hyperslab(whole, H5S_SELECT_SET, r.start, nullptr, r.size, nullptr));
    HDF5_CHECK(H5Pset_virtual(creation, whole, file.c_str(), piece.dataset().c_str(), source));
    done += elements;
  }
}

void write_parameter(hid_t group, const std::string& name, const Manifest::Parameter& parameter, ParamState state,
                     const std::vector<RankFile>& files) {
  const std::vector<Manifest::Location>& pieces = parameter.pieces[static_cast<std::size_t>(state)];
  if (pieces.empty()) return;
  const h5::Dataspace whole = h5::make_space(parameter.shape);
  const h5::Plist creation(HDF5_CHECK(H5Pcreate(H5P_DATASET_CREATE)));
  HDF5_CHECK(H5Pset_obj_track_times(creation, false));
  for (const Manifest::Location& at : pieces)
    map_piece(creation, whole, parameter.shape, files[at.file].name(), at.piece);
  HDF5_CHECK(H5Sselect_all(whole));
  h5::Dataset dataset(
      HDF5_CHECK(H5Dcreate2(group, name.c_str(), H5T_NATIVE_FLOAT, whole, H5P_DEFAULT, creation, H5P_DEFAULT)));
  dataset.close();
}

}  // namespace

void write_index(const std::filesystem::path& path, const Manifest& manifest) {
  h5::File file = h5::create_file(path);
  h5::write_attribute(file, "step", manifest.metadata.step);
  h5::write_attribute(file, "tokens_seen", manifest.metadata.tokens_seen);
  for (const ParamState state : {ParamState::master, ParamState::m, ParamState::v}) {
    const h5::Group group = h5::create_group(file, std::string(name_of(state)));
    for (const auto& [name, parameter] : manifest.parameters) {
      write_parameter(group, name, parameter, state, manifest.files);
    }
  }
  file.close();
}

}  // namespace sherd
