#include "chess/game_filter.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "moves_text.hpp"

namespace sherd::chess {
namespace {

using test::message_of;
using testing::HasSubstr;

GameTags rated(std::string_view white, std::string_view black) {
  GameTags tags;
  tags.white_elo = white;
  tags.black_elo = black;
  return tags;
}

GameRecord game_of(std::string_view result, std::int64_t plies) {
  GameRecord game;
  game.result = result;
  game.plies = plies;
  return game;
}

TEST(GameFilter, RatingsOfBothPlayersCount) {
  GameFilter filter;
  EXPECT_EQ(filter.by_tags(rated("?", "")), Verdict::kept);
  filter.min_rating = 1800;
  filter.max_rating = 2200;
  EXPECT_EQ(filter.by_tags(rated("1800", "2200")), Verdict::kept);
  EXPECT_EQ(filter.by_tags(rated("1799", "2000")), Verdict::rating);
  EXPECT_EQ(filter.by_tags(rated("2000", "2201")), Verdict::rating);
  for (const char* none : {"", "?", "-", "2000?", "99999999999"}) {
    EXPECT_EQ(filter.by_tags(rated("2000", none)), Verdict::rating) << none;
  }
}

TEST(GameFilter, Termination) {
  GameFilter filter;
  filter.terminations = {"Normal", "Time forfeit"};
  GameTags tags;
  EXPECT_EQ(filter.by_tags(tags), Verdict::termination);
  tags.termination = "Time forfeit";
  EXPECT_EQ(filter.by_tags(tags), Verdict::kept);
  tags.termination = "Abandoned";
  EXPECT_EQ(filter.by_tags(tags), Verdict::termination);
}

TEST(GameFilter, ResultAndLength) {
  GameFilter filter;
  EXPECT_EQ(filter.by_game(game_of("1/2-1/2", 1)), Verdict::kept);
  EXPECT_EQ(filter.by_game(game_of("*", 30)), Verdict::result);
  filter.results = {"1-0", "*"};
  filter.min_plies = 10;
  filter.max_plies = 20;
  EXPECT_EQ(filter.by_game(game_of("*", 10)), Verdict::kept);
  EXPECT_EQ(filter.by_game(game_of("0-1", 10)), Verdict::result);
  EXPECT_EQ(filter.by_game(game_of("1-0", 9)), Verdict::length);
  EXPECT_EQ(filter.by_game(game_of("1-0", 20)), Verdict::kept);
  EXPECT_EQ(filter.by_game(game_of("1-0", 21)), Verdict::length);
}

TEST(GameFilter, WhatNoGameCanPassIsAMistake) {
  const auto complaint = [](auto change) {
    GameFilter filter;
    change(filter);
    return message_of([&] { filter.validate(); }, ExitCode::usage);
  };
  EXPECT_EQ(complaint([](GameFilter&) {}), "");
  EXPECT_THAT(complaint([](GameFilter& f) { f.min_rating = 2000, f.max_rating = 1000; }),
              HasSubstr("--min-rating 2000"));
  EXPECT_THAT(complaint([](GameFilter& f) { f.min_plies = 9, f.max_plies = 8; }), HasSubstr("--min-plies 9"));
  EXPECT_THAT(complaint([](GameFilter& f) { f.results = {"2-0"}; }), HasSubstr("--result is '2-0'"));
}

}  // namespace
}  // namespace sherd::chess
