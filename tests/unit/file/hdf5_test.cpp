#include "sherd/file/hdf5.hpp"

#include <gtest/gtest.h>

#include <numeric>

#include "sherd/file/posix.hpp"
#include "temporary_directory.hpp"

namespace sherd {
namespace {

h5::PlainDataset open_float(const h5::File& file, const std::string& path) {
  return h5::open_plain_dataset(file, path, {H5T_NATIVE_FLOAT}, "f.h5");
}

TEST(Hdf5, PlainDatasetReadsBackThroughLibraryAndThroughPread) {
  const TemporaryDirectory dir;
  std::vector<float> data(1000);
  std::iota(data.begin(), data.end(), 0.5f);
  {
    h5::File file = h5::create_file(dir / "f.h5");
    const h5::Group group = h5::create_group(file, "g");
    const std::int64_t shape[] = {1000};
    h5::write_all(h5::create_plain_dataset(group, "x", H5T_NATIVE_FLOAT, shape), H5T_NATIVE_FLOAT, data.data());
    file.close();
  }
  const h5::File file = h5::open_file(dir / "f.h5");
  const h5::PlainDataset plain = open_float(file, "/g/x");
  EXPECT_EQ(plain.shape, std::vector<std::int64_t>{1000});
  EXPECT_EQ(plain.element_size, 4);
  std::vector<float> part(10);
  h5::read_range(plain.dataset, H5T_NATIVE_FLOAT, 20, 10, part.data());
  EXPECT_EQ(part, std::vector<float>(data.begin() + 20, data.begin() + 30));
  std::vector<float> all(1000);
  sherd::File::open_read(dir / "f.h5").pread_all(std::as_writable_bytes(std::span(all)), plain.offset);
  EXPECT_EQ(all, data);
}

TEST(Hdf5, PlainDatasetRefusesEverythingElse) {
  const TemporaryDirectory dir;
  const h5::File file = h5::create_file(dir / "f.h5");
  const hsize_t n = 100, chunk = 10;
  const h5::Dataspace space(HDF5_CHECK(H5Screate_simple(1, &n, nullptr)));
  const auto create = [&](const char* name, hid_t plist, hid_t type = H5T_NATIVE_FLOAT) {
    h5::Dataset(HDF5_CHECK(H5Dcreate2(file, name, type, space, H5P_DEFAULT, plist, H5P_DEFAULT)));
  };
  h5::Plist chunked(HDF5_CHECK(H5Pcreate(H5P_DATASET_CREATE))), external(HDF5_CHECK(H5Pcreate(H5P_DATASET_CREATE))),
      virtual_(HDF5_CHECK(H5Pcreate(H5P_DATASET_CREATE)));
  HDF5_CHECK(H5Pset_chunk(chunked, 1, &chunk));
  HDF5_CHECK(H5Pset_external(external, "/etc/hostname", 0, 400));
  HDF5_CHECK(H5Pset_virtual(virtual_, space, "other.h5", "/x", space));
  create("chunked", chunked);
  create("external", external);
  create("virtual", virtual_);
  create("late", H5P_DEFAULT);  // space is reserved at the first write, which never comes
  create("ints", H5P_DEFAULT, H5T_NATIVE_INT);
  HDF5_CHECK(H5Lcreate_external("other.h5", "/x", file, "elsewhere", H5P_DEFAULT, H5P_DEFAULT));
  HDF5_CHECK(H5Lcreate_soft("/late", file, "soft", H5P_DEFAULT, H5P_DEFAULT));
  EXPECT_BAD_INPUT(open_float(file, "/chunked"), "f.h5/chunked: is chunked");
  EXPECT_BAD_INPUT(open_float(file, "/external"), "keeps its data in another file");
  EXPECT_BAD_INPUT(open_float(file, "/virtual"), "is virtual");
  EXPECT_BAD_INPUT(open_float(file, "/late"), "holds no data");
  EXPECT_BAD_INPUT(open_float(file, "/ints"), "unexpected type");
  EXPECT_BAD_INPUT(open_float(file, "/elsewhere"), "no such dataset");
  EXPECT_BAD_INPUT(open_float(file, "/elsewhere/x"), "no such dataset");
  EXPECT_BAD_INPUT(open_float(file, "/soft"), "no such dataset");
  EXPECT_BAD_INPUT(open_float(file, "/"), "not a dataset");
}

TEST(Hdf5, Attributes) {
  const TemporaryDirectory dir;
  const h5::File file = h5::create_file(dir / "f.h5");
  h5::write_attribute(file, "i", std::int64_t{1} << 40);
  h5::write_attribute(file, "d", 0.1);
  h5::write_attribute(file, "s", std::string_view("Grüße"));
  h5::write_attribute(file, "empty", std::string_view(""));
  EXPECT_EQ(h5::read_int_attribute(file, "i"), std::int64_t{1} << 40);
  EXPECT_EQ(h5::read_real_attribute(file, "d"), 0.1);
  EXPECT_EQ(h5::read_string_attribute(file, "s"), "Grüße");
  EXPECT_EQ(h5::read_string_attribute(file, "empty"), "");
  EXPECT_BAD_INPUT(h5::read_int_attribute(file, "none"), "\"none\" is missing");
  EXPECT_BAD_INPUT(h5::read_int_attribute(file, "s"), "another type");
  EXPECT_BAD_INPUT(h5::read_string_attribute(file, "i"), "not a fixed-length string");
}

TEST(Hdf5, ErrorsCarryTheLibrarysMessage) {
  const TemporaryDirectory dir;
  EXPECT_BAD_INPUT(h5::open_file(dir / "none.h5"), "none.h5: there is no such file");
  sherd::File::create(dir / "text.h5").pwrite_all("no HDF5", 0);
  EXPECT_BAD_INPUT(h5::open_file(dir / "text.h5"), "not a readable HDF5 file");
  EXPECT_BAD_INPUT(h5::create_file(dir / "no" / "f.h5"), "HDF5: H5Fcreate failed");
}

}  // namespace
}  // namespace sherd
