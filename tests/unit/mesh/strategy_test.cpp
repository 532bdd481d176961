#include "sherd/mesh/strategy.hpp"

#include <gtest/gtest.h>

#include <string>

#include "sherd/base/error.hpp"
#include "sherd/config/fields.hpp"

namespace sherd {
namespace {

TEST(Strategy, RowsAreFoundByName) {
  EXPECT_EQ(find_strategy("none").params, Placement::everywhere);
  EXPECT_EQ(find_strategy("full").optimizer, Placement::world);
  EXPECT_EQ(find_strategy("hybrid").grads, Placement::group);
  for (const ShardingStrategy& s : sharding_strategies()) EXPECT_EQ(&find_strategy(s.name), &s);
}

TEST(Strategy, TheFlagOffersEveryRow) {
  TrainConfig config;
  for (const Field& field : fields_of(config)) {
    if (field.name != "sharding") continue;
    ASSERT_EQ(field.choices.size(), sharding_strategies().size());
    for (const auto& choice : field.choices) EXPECT_EQ(find_strategy(choice).name, choice);
  }
}

TEST(Strategy, UnknownNamesAreAnsweredWithTheKnown) {
  try {
    find_strategy("hybird");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::usage);
    EXPECT_STREQ(e.what(), "--sharding 'hybird' is not known; use one of: none, full, hybrid");
  }
}

}  // namespace
}  // namespace sherd
