// Where parameters lie in a unit's flat vector, and which of their elements a shard holds.
#include "sherd/shard/layout.hpp"

#include <gtest/gtest.h>

#include <map>
#include <numeric>

#include "sherd/base/rng.hpp"

namespace sherd {
namespace {

ParamSpec matrix(std::string name, std::int64_t rows, std::int64_t cols, std::string fusion = "") {
  return {std::move(name), {rows, cols}, 0.02f, false, true, std::move(fusion)};
}
ParamSpec gain(std::string name, std::int64_t n) {
  return {std::move(name), {n}, 1.0f, true, false, ""};
}

// Odd sizes everywhere: 5, then 21 + 14 + 14 of one group, 21, and 33 + 33 of another.
UnitSpec odd_unit() {
  return {"unit",
          {gain("norm", 5), matrix("q", 3, 7, "qkv"), matrix("k", 2, 7, "qkv"), matrix("v", 2, 7, "qkv"),
           matrix("o", 7, 3), matrix("gate", 11, 3, "gate_up"), matrix("up", 11, 3, "gate_up")}};
}

std::vector<std::int64_t> firsts(const UnitLayout& layout) {
  std::vector<std::int64_t> all;
  for (const UnitLayout::Slot& slot : layout.slots) all.push_back(slot.first);
  return all;
}

TEST(Layout, AlignsParametersAndKeepsFusionGroupsTogether) {
  const UnitLayout layout = make_layout(odd_unit(), 1);
  EXPECT_EQ(layout.name, "unit");
  EXPECT_EQ(firsts(layout), (std::vector<std::int64_t>{0, 128, 149, 163, 256, 384, 417}));
  EXPECT_EQ(layout.padded, 512);  // 450 elements
}

TEST(Layout, PadsToAMultipleOf128ForEveryRank) {
  for (const auto& [world, padded] : std::map<int, int>{{1, 512}, {2, 512}, {3, 768}, {4, 512}, {5, 640}, {16, 2048}}) {
    EXPECT_EQ(make_layout(odd_unit(), world).padded, padded) << world << " ranks";
  }
}

TEST(Layout, BeginsANewGroupWhereAnotherNameFollows) {
  const UnitLayout layout = make_layout(
      {"unit", {matrix("a", 1, 3, "x"), matrix("b", 1, 3, "y"), matrix("c", 1, 3), matrix("d", 1, 3, "y")}}, 1);
  EXPECT_EQ(firsts(layout), (std::vector<std::int64_t>{0, 128, 256, 384}));
}

TEST(Layout, ViewsAFlatVectorAsParameters) {
  const UnitLayout layout = make_layout(odd_unit(), 2);
  std::vector<float> values(static_cast<std::size_t>(layout.padded));
  std::iota(values.begin(), values.end(), 0.0f);
  const std::vector<Tensor> views = layout.views(Tensor::make(values.data(), DType::f32, {layout.padded}));
  ASSERT_EQ(views.size(), 7u);
  EXPECT_EQ(views[0].describe(), "f32 (5)");
  EXPECT_EQ(views[2].describe(), "f32 (2, 7)");
  EXPECT_EQ(views[2].as<float>().front(), 149.0f);
  EXPECT_EQ(views[6].as<float>().back(), 449.0f);
}

TEST(Layout, SharesSlotsOnlyBetweenUnitsOfOneShape) {
  UnitSpec other = odd_unit();
  for (ParamSpec& p : other.params) p.name += " of another layer";
  const UnitLayout layout = make_layout(odd_unit(), 2);
  EXPECT_TRUE(layout.same_shape(make_layout(other, 2)));
  EXPECT_FALSE(layout.same_shape(make_layout(odd_unit(), 3)));
  other.params[4] = matrix("o", 3, 7);
  EXPECT_FALSE(layout.same_shape(make_layout(other, 2)));
  other.params.pop_back();
  EXPECT_FALSE(layout.same_shape(make_layout(other, 2)));
}

void expect_each_element_once(const UnitLayout& layout, std::int64_t shards) {
  std::map<std::string, std::vector<int>> seen;
  for (const UnitLayout::Slot& slot : layout.slots) {
    seen[slot.spec.name].resize(static_cast<std::size_t>(slot.spec.numel()));
  }
  const std::int64_t size = layout.padded / shards;
  for (std::int64_t shard = 0; shard < shards; ++shard) {
    std::int64_t end = 0;
    for (const ShardPiece& piece : shard_pieces(layout, shard, shards)) {
      EXPECT_GE(piece.offset, end);  // in order, not overlapping
      EXPECT_GT(piece.count, 0);
      end = piece.offset + piece.count;
      EXPECT_LE(end, size);
      for (const UnitLayout::Slot& slot : layout.slots) {
        if (&slot.spec != piece.spec) continue;
        EXPECT_EQ(shard * size + piece.offset, slot.first + piece.first);
      }
      std::vector<int>& elements = seen[piece.spec->name];
      for (std::int64_t i = 0; i < piece.count; ++i) ++elements.at(static_cast<std::size_t>(piece.first + i));
    }
  }
  for (const auto& [name, elements] : seen) EXPECT_EQ(elements, std::vector<int>(elements.size(), 1)) << name;
}

TEST(ShardPieces, HoldEachElementOnce) {
  for (std::int64_t world = 1; world <= 24; ++world) {
    const UnitLayout layout = make_layout(odd_unit(), world);
    for (std::int64_t shards = 1; shards <= world; ++shards) {
      if (world % shards != 0) continue;
      SCOPED_TRACE(testing::Message() << shards << " shards on " << world << " ranks");
      EXPECT_EQ(layout.padded / shards % 128, 0);
      expect_each_element_once(layout, shards);
    }
  }
}

TEST(ShardPieces, OfASliceThatIsAllPaddingAreNone) {
  const UnitLayout layout = make_layout({"unit", {matrix("a", 1, 3)}}, 4);
  EXPECT_EQ(shard_pieces(layout, 0, 4).size(), 1u);
  EXPECT_TRUE(shard_pieces(layout, 3, 4).empty());
}

std::vector<std::string> texts(const std::vector<DecayRun>& runs) {
  std::vector<std::string> all;
  for (const DecayRun& run : runs) all.push_back(fmt::format("{}+{}: {}", run.begin, run.count, run.decay));
  return all;
}

/// The identity of every element of a unit, at its place in the flat vector, as its shards' runs tell it.
std::map<std::int64_t, std::pair<std::uint64_t, std::uint64_t>> identities(const UnitLayout& layout,
                                                                           std::int64_t shards) {
  std::map<std::int64_t, std::pair<std::uint64_t, std::uint64_t>> all;
  for (std::int64_t shard = 0; shard < shards; ++shard)
    for (const DecayRun& run : decay_runs(shard_pieces(layout, shard, shards), 0.5f, false))
      for (std::int64_t i = 0; i < run.count; ++i)
        all[shard * (layout.padded / shards) + run.begin + i] = {run.name_hash,
                                                                 run.first + static_cast<std::uint64_t>(i)};
  return all;
}

TEST(DecayRuns, AreOnePerPieceAndSpareGains) {
  const UnitLayout layout = make_layout({"unit", {gain("norm", 128), matrix("a", 1, 3)}}, 1);
  EXPECT_EQ(texts(decay_runs(shard_pieces(layout, 0, 1), 0.5f, false)),
            (std::vector<std::string>{"0+128: 0", "128+3: 0.5"}));
  EXPECT_EQ(texts(decay_runs(shard_pieces(layout, 0, 1), 0.5f, true)),
            (std::vector<std::string>{"0+128: 0.5", "128+3: 0.5"}));
  EXPECT_EQ(decay_runs(shard_pieces(make_layout(odd_unit(), 1), 0, 1), 0.5f, false).size(), 7u);
}

TEST(DecayRuns, NameEveryElementAlikeUnderAnySharding) {
  const auto expected = identities(make_layout(odd_unit(), 1), 1);
  EXPECT_EQ(expected.size(), 5u + 21 + 14 + 14 + 21 + 33 + 33);
  EXPECT_EQ(expected.at(0), std::pair(stable_hash("norm"), std::uint64_t{0}));
  EXPECT_EQ(expected.at(128 + 21 + 3), std::pair(stable_hash("k"), std::uint64_t{3}));
  for (const std::int64_t world : {2, 3, 4, 6, 12}) {
    const UnitLayout layout = make_layout(odd_unit(), world);
    EXPECT_EQ(identities(layout, 1), expected);
    EXPECT_EQ(identities(layout, world), expected);
  }
}

}  // namespace
}  // namespace sherd
