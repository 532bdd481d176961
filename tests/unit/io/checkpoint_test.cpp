#include "sherd/io/checkpoint.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstring>

#include "checkpoint_writing.hpp"
#include "sherd/file/posix.hpp"
#include "temporary_directory.hpp"

namespace sherd {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> names_in(const fs::path& directory) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory)) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

TEST(Checkpoint, AnyPartitionIsReadBackByAnyOther) {
  for (const int world : {1, 2, 3, 5}) {
    const TemporaryDirectory dir;
    CheckpointReader reader(write_checkpoint(dir.path(), 100, world, static_cast<std::uint64_t>(world)));
    EXPECT_EQ(reader.metadata().step, 100);
    EXPECT_EQ(reader.metadata().tokens_seen, 100000);
    EXPECT_EQ(reader.metadata().world_size, world);
    EXPECT_EQ(reader.metadata().config_json, R"({"learning_rate":0.1})");
    for (const TestParameter& p : test_parameters()) {
      EXPECT_EQ(reader.shape(p.name), p.shape);
      for (const ParamState state : p.states()) {
        const std::vector<float> expected = p.values(state);
        std::vector<float> found(expected.size());
        for (const TestPiece& piece : random_pieces(p.elements(), 4, 99)) {
          reader.read(
              p.name, state, piece.first,
              std::span(found).subspan(static_cast<std::size_t>(piece.first), static_cast<std::size_t>(piece.count)));
        }
        EXPECT_TRUE(same_bits(found, expected)) << p.name << " " << name_of(state) << " world " << world;
      }
    }
    EXPECT_NO_THROW(reader.verify());
  }
}

TEST(Checkpoint, ManyBlocksAndEveryBitPattern) {
  const TemporaryDirectory dir;
  std::vector<float> all((std::size_t{5} << 19) + 3);  // two and a half blocks
  for (std::size_t i = 0; i < all.size(); ++i)
    all[i] = std::bit_cast<float>(static_cast<std::uint32_t>(i * 2654435761u));
  const std::int64_t n = static_cast<std::int64_t>(all.size()), shape[] = {n};
  begin_checkpoint(dir.path(), 1);
  CheckpointWriter writer(dir.path(), 1, 0);
  writer.add("x", shape, ParamState::master, 0, all);
  CheckpointReader reader(commit_checkpoint(dir.path(), {1, 0, 1, "{}"}, {writer.finish()}, 0));
  std::vector<float> found(all.size());
  reader.read("x", ParamState::master, 0, found);
  EXPECT_TRUE(same_bits(found, all));
  EXPECT_EQ(reader.bytes_read(), n * 4);
  found.resize(100);
  for (std::int64_t first = (1 << 20) - 150; first < (1 << 20) + 50; first += 100) {
    reader.read("x", ParamState::master, first, found);
    EXPECT_TRUE(same_bits(found, std::span(all).subspan(static_cast<std::size_t>(first), 100)));
  }
  EXPECT_EQ(reader.bytes_read(), n * 4 + 2 * (4 << 20));  // a block is not read again for its next part
}

TEST(Checkpoint, APieceInPartsIsThePieceAtOnce) {
  const std::vector<float> all = test_parameters().front().values(ParamState::m);
  const std::int64_t n = static_cast<std::int64_t>(all.size()), shape[] = {n};
  const TemporaryDirectory dir;
  const auto part = [&](std::size_t step) {
    begin_checkpoint(dir.path(), static_cast<std::int64_t>(step));
    CheckpointWriter writer(dir.path(), static_cast<std::int64_t>(step), 0);
    writer.begin_piece("x", shape, ParamState::master, 0, n);
    EXPECT_THROW(writer.append(std::vector<float>(all.size() + 1)), Error);
    for (std::size_t i = 0; i < all.size(); i += step) {
      writer.append(std::span(all).subspan(i, std::min(step, all.size() - i)));
    }
    return writer.finish();
  };
  const std::string once = part(all.size());
  for (const std::size_t step : {1u, 7u, 100u}) EXPECT_EQ(part(step), once);
  begin_checkpoint(dir.path(), 1);
  CheckpointWriter writer(dir.path(), 1, 0);
  EXPECT_THROW(writer.append(all), Error);
  writer.begin_piece("x", shape, ParamState::master, 0, n);
  writer.append(std::span(all).first(3));
  EXPECT_THROW(writer.finish(), Error);
}

TEST(Checkpoint, TheIndexShowsEveryParameterWhole) {
  const TemporaryDirectory dir;
  const fs::path path = write_checkpoint(dir.path(), 5, 3, 11);
  fs::rename(path, dir / "moved");  // the index names its files relative to itself
  const h5::File index = h5::open_file(dir / "moved" / "model.h5");
  EXPECT_EQ(h5::read_int_attribute(index, "step"), 5);
  for (const TestParameter& p : test_parameters()) {
    for (const ParamState state : p.states()) {
      const std::string where = fmt::format("/{}/{}", name_of(state), p.name);
      const h5::Dataset dataset(HDF5_CHECK(H5Dopen2(index, where.c_str(), H5P_DEFAULT)));
      const h5::Dataspace space(HDF5_CHECK(H5Dget_space(dataset)));
      std::vector<hsize_t> extent(p.shape.size());
      ASSERT_EQ(H5Sget_simple_extent_ndims(space), static_cast<int>(extent.size()));
      HDF5_CHECK(H5Sget_simple_extent_dims(space, extent.data(), nullptr));
      EXPECT_TRUE(std::equal(extent.begin(), extent.end(), p.shape.begin()));
      std::vector<float> found(static_cast<std::size_t>(p.elements()), -1);
      HDF5_CHECK(H5Dread(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, found.data()));
      EXPECT_TRUE(same_bits(found, p.values(state))) << where;
    }
  }
  EXPECT_FALSE(h5::has_object(index, "/m/model.frozen.weight"));
}

TEST(Checkpoint, FilesKeepTheLayoutThatWasPromised) {
  const TemporaryDirectory dir;
  const fs::path path = write_checkpoint(dir.path(), 5, 2, 3);
  EXPECT_EQ(path.filename(), "step-00000005");
  EXPECT_EQ(names_in(path), (std::vector<std::string>{"manifest.json", "model.h5", "rank-0000.h5", "rank-0001.h5"}));
  const h5::File shard = h5::open_file(path / "rank-0000.h5");
  const TestParameter p = test_parameters().front();
  for (const TestPiece& piece : random_pieces(p.elements(), 2, 3)) {
    if (piece.rank != 0) continue;
    const auto plain =
        h5::open_plain_dataset(shard, fmt::format("/v/{}@{}", p.name, piece.first), {H5T_NATIVE_FLOAT}, "");
    EXPECT_EQ(plain.shape, std::vector<std::int64_t>{piece.count});
  }
}

TEST(Checkpoint, MissingNamesAndStates) {
  const TemporaryDirectory dir;
  CheckpointReader reader(write_checkpoint(dir.path(), 5, 2, 3));
  std::vector<float> out(1);
  EXPECT_TRUE(reader.has("model.norm.weight", ParamState::v));
  EXPECT_FALSE(reader.has("model.frozen.weight", ParamState::v));
  EXPECT_FALSE(reader.has("model.norm", ParamState::master));
  EXPECT_BAD_INPUT(reader.shape("model.norms.weight"), "model.norms.weight; did you mean model.norm.weight?");
  EXPECT_BAD_INPUT(reader.shape("x"), "there is no parameter x");
  EXPECT_BAD_INPUT(reader.read("model.frozen.weight", ParamState::v, 0, out), "holds no v of model.frozen.weight");
  EXPECT_THROW(reader.read("model.norm.weight", ParamState::v, 19, out), Error);
  EXPECT_THROW(reader.read("model.norm.weight", ParamState::v, -1, out), Error);
}

TEST(Checkpoint, PiecesMustCoverEveryParameterOnce) {
  const TemporaryDirectory dir;
  const std::vector<float> data(10);
  const std::int64_t shape[] = {10}, other[] = {5, 2};
  const auto commit = [&](auto&& add) {
    begin_checkpoint(dir.path(), 1);
    CheckpointWriter writer(dir.path(), 1, 0);
    add(writer);
    const std::string part = writer.finish();
    return message_of(ExitCode::bad_input, [&] { commit_checkpoint(dir.path(), {1, 0, 1, "{}"}, {part}, 0); });
  };
  const auto ten = std::span<const float>(data);
  const auto add = [&](std::int64_t first, std::size_t n, std::int64_t first2, std::size_t n2) {
    return commit([&](CheckpointWriter& w) {
      w.add("x", shape, ParamState::m, first, ten.first(n));
      w.add("x", shape, ParamState::m, first2, ten.first(n2));
    });
  };
  EXPECT_NE(add(0, 4, 5, 5).find("leave a hole at element 4"), std::string::npos);
  EXPECT_NE(add(0, 4, 3, 7).find("overlap at element 3"), std::string::npos);
  EXPECT_NE(add(0, 4, 4, 5).find("end at element 9 of 10"), std::string::npos);
  EXPECT_NE(add(1, 4, 5, 5).find("leave a hole at element 0"), std::string::npos);
  EXPECT_NE(add(0, 4, 4, 7).find("outside of"), std::string::npos);
  const std::string shapes = commit([&](CheckpointWriter& w) {
    w.add("x", shape, ParamState::master, 0, ten);
    w.add("x", other, ParamState::m, 0, ten);
  });
  EXPECT_NE(shapes.find("has the shape (10) and (5, 2)"), std::string::npos) << shapes;
  EXPECT_TRUE(list_checkpoints(dir.path()).empty());
  EXPECT_EQ(add(0, 4, 4, 6), "(nothing thrown)");
}

TEST(Checkpoint, AKilledSaveIsNeverListedAndIsRemovedByTheNext) {
  const TemporaryDirectory dir;
  write_checkpoint(dir.path(), 1, 2, 1);
  write_parts(dir.path(), 2, 2, 1);  // killed before the commit
  fs::create_directory(dir / ".deleting-step-00000000");
  fs::create_directory(dir / "step-notes.tmp");  // a user's own
  EXPECT_EQ(list_checkpoints(dir.path()), std::vector<fs::path>{dir / "step-00000001"});
  EXPECT_EQ(find_newest_good(dir.path()), dir / "step-00000001");
  write_checkpoint(dir.path(), 3, 2, 1);
  EXPECT_EQ(names_in(dir.path()), (std::vector<std::string>{"step-00000001", "step-00000003", "step-notes.tmp"}));
}

TEST(Checkpoint, AWriterThatFailsRemovesItsFile) {
  const TemporaryDirectory dir;
  begin_checkpoint(dir.path(), 1);
  { CheckpointWriter writer(dir.path(), 1, 0); }
  EXPECT_TRUE(fs::is_empty(dir / "step-00000001.tmp"));
  EXPECT_BAD_INPUT(CheckpointWriter(dir.path(), 2, 0), "cannot write this checkpoint");
}

TEST(Checkpoint, RetentionKeepsTheNewestAndTheOneJustWritten) {
  const TemporaryDirectory dir;
  for (const std::int64_t step : {10, 20, 30}) write_checkpoint(dir.path(), step, 1, 1, 2);
  EXPECT_EQ(names_in(dir.path()), (std::vector<std::string>{"step-00000020", "step-00000030"}));
  write_checkpoint(dir.path(), 15, 1, 1, 2);  // resumed from an older step
  EXPECT_EQ(names_in(dir.path()), (std::vector<std::string>{"step-00000015", "step-00000030"}));
  write_checkpoint(dir.path(), 5, 1, 1, 1);
  EXPECT_EQ(names_in(dir.path()), (std::vector<std::string>{"step-00000005"}));
  write_checkpoint(dir.path(), 123456789, 1, 1, 0);
  EXPECT_EQ(list_checkpoints(dir.path()), (std::vector<fs::path>{dir / "step-123456789", dir / "step-00000005"}));
}

TEST(Checkpoint, TheSameStepAgainReplacesIt) {
  const TemporaryDirectory dir;
  write_checkpoint(dir.path(), 10, 1, 1);
  CheckpointReader reader(write_checkpoint(dir.path(), 10, 3, 2));
  EXPECT_EQ(reader.metadata().world_size, 3);
  EXPECT_NO_THROW(reader.verify());
  EXPECT_EQ(names_in(dir.path()), std::vector<std::string>{"step-00000010"});
}

TEST(Checkpoint, AFullDiskKeepsTheLastGoodOne) {
  const TemporaryDirectory dir;
  const fs::path good = write_checkpoint(dir.path(), 1, 1, 1);
  const std::vector<float> data(100000);
  const std::int64_t shape[] = {100000};
  struct rlimit before {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  for (const rlim_t limit : {0, 1000, 100000, 399999}) {
    begin_checkpoint(dir.path(), 2);
    struct rlimit small = before;
    small.rlim_cur = limit;
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
    const std::string message = message_of(ExitCode::does_not_fit, [&] {
      CheckpointWriter writer(dir.path(), 2, 0);
      writer.add("x", shape, ParamState::master, 0, data);
      commit_checkpoint(dir.path(), {2, 0, 1, "{}"}, {writer.finish()}, 1);
    });
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
    EXPECT_NE(message.find("earlier ones stay as they are"), std::string::npos) << limit << ": " << message;
    EXPECT_NE(message.find("rank-0000.h5"), std::string::npos) << limit << ": " << message;
    EXPECT_TRUE(fs::is_empty(dir / "step-00000002.tmp"));  // what was written gives its space back
  }
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(find_newest_good(dir.path()), good);
  EXPECT_NO_THROW(CheckpointReader(good).verify());
}

}  // namespace
}  // namespace sherd
