#pragma once
// Positions by the moves that lead to them, and texts of errors.
#include <gtest/gtest.h>

#include <sstream>
#include <string>

#include "chess/game.hpp"
#include "chess/san.hpp"
#include "sherd/base/error.hpp"

namespace sherd::chess::test {

/// Plays UCI moves; a move that cannot be played fails the test and stops.
inline void play(Game& game, const std::string& moves) {
  std::istringstream words(moves);
  for (std::string word; words >> word;) {
    Move m;
    const char* wrong = parse_uci(game.position(), word, m);
    ASSERT_EQ(wrong, nullptr) << word << " in " << fen(game.position());
    game.play(m);
  }
}

inline Game after(const std::string& moves) {
  Game game;
  play(game, moves);
  return game;
}

/// What a call throws, "" if nothing.
template <class F>
std::string message_of(F&& call, ExitCode code = ExitCode::bad_input) {
  try {
    call();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.what();
    return e.what();
  }
  return "";
}

}  // namespace sherd::chess::test
