// chess_selfplay --engine PATH --games N > games.jsonl: a corpus of games that a UCI engine plays against itself. Each
// begins with random legal moves; the engine, with one thread and a fixed number of nodes, plays on until the rules end
// the game (threefold repetition and fifty moves count). Game i depends on the seed and i only, so many processes can
// make one corpus, each its own range of games.
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <string>

#include "chess/game.hpp"
#include "chess/game_writer.hpp"
#include "chess/printable.hpp"
#include "chess/program.hpp"
#include "chess/san.hpp"
#include "chess/uci_engine.hpp"
#include "sherd/base/error.hpp"
#include "sherd/base/rng.hpp"

namespace sherd::chess {
namespace {

using Clock = std::chrono::steady_clock;

struct Settings {
  EngineSettings engine;
  std::string output;
  std::int64_t games = 1;
  std::int64_t first = 0;
  std::uint64_t seed = 1;
  int opening_plies = 6;
};

struct Tally {
  std::int64_t games = 0, plies = 0;
  std::array<std::int64_t, 8> by_end{};
  Clock::time_point start = Clock::now(), shown = start;

  double seconds() const { return std::chrono::duration<double>(Clock::now() - start).count(); }
};

Move engine_move(UciEngine& engine, const Settings& s, const Game& game, const std::string& moves) {
  const std::string text = engine.best_move(moves);
  Move m;
  if (const char* wrong = parse_uci(game.position(), text, m)) {
    throw comm_error("{}: the engine's move '{}' is {}, in {}", s.engine.path, printable(text, 20), wrong,
                     fen(game.position()));
  }
  return m;
}

/// Plays game `number` to its end; its moves, a space after each.
std::string play(UciEngine& engine, const Settings& s, std::int64_t number, Game& game, Tally& tally) {
  const Random random(s.seed, Purpose::sample, static_cast<std::uint64_t>(number));
  engine.begin_game();
  std::string moves;
  for (int ply = 0; game.end(Draws::claimed) == End::none; ++ply, ++tally.plies) {
    Move m;
    if (ply < s.opening_plies) {
      const MoveList legal = legal_moves(game.position());
      m = legal[random.bits(static_cast<std::uint64_t>(ply)) % legal.size()];
    } else {
      m = engine_move(engine, s, game, moves);
    }
    game.play(m);
    moves.append(uci(m)).append(" ");
  }
  return moves;
}

void tell_progress(const Settings& s, Tally& tally) {
  const auto now = Clock::now();
  const bool terminal = ::isatty(STDERR_FILENO) == 1;
  if (now - tally.shown < std::chrono::seconds(terminal ? 1 : 30)) return;
  tally.shown = now;
  fmt::print(stderr, "{}chess_selfplay: {} of {} games, {:.2f} a second{}", terminal ? "\r" : "", tally.games, s.games,
             static_cast<double>(tally.games) / tally.seconds(), terminal ? "   " : "\n");
}

void run(const Settings& s) {
  if (s.output.empty() && ::isatty(STDOUT_FILENO) == 1) {
    throw usage_error("games are not written to a terminal; add --output FILE, > FILE or | PROGRAM");
  }
  UciEngine engine(s.engine);
  GameWriter writer(s.output);
  Tally tally;
  for (std::int64_t number = s.first; number < s.first + s.games; ++number) {
    Game game;
    const std::string moves = play(engine, s, number, game, tally);
    const End end = game.end(Draws::claimed);
    writer.write(moves, result_of(end, game.position().turn));
    ++tally.by_end[static_cast<std::size_t>(end)];
    ++tally.games;
    tell_progress(s, tally);
  }
  writer.finish();
  fmt::print(stderr, "{}chess_selfplay: {} games, {} plies in {:.1f} s\n", ::isatty(STDERR_FILENO) == 1 ? "\r" : "",
             tally.games, tally.plies, tally.seconds());
  for (std::size_t i = 0; i < tally.by_end.size(); ++i) {
    if (tally.by_end[i] > 0) fmt::print(stderr, "  {:>12} {}\n", tally.by_end[i], name_of(static_cast<End>(i)));
  }
}

void declare(CLI::App& app, Settings& s) {
  app.add_option("--engine", s.engine.path, "a UCI engine, e.g. stockfish")->required();
  app.add_option("--games", s.games, "how many games")->required()->check(CLI::PositiveNumber);
  app.add_option("--first", s.first, "number of the first game, for parts of one corpus")
      ->check(CLI::NonNegativeNumber);
  app.add_option("--seed", s.seed, "of the openings")->capture_default_str();
  app.add_option("--nodes", s.engine.nodes, "searched per move")->check(CLI::PositiveNumber)->capture_default_str();
  app.add_option("--hash", s.engine.hash_mib, "MiB of the engine's table")->check(CLI::Range(1, 1 << 16));
  app.add_option("--opening-plies", s.opening_plies, "random half-moves at the start")
      ->check(CLI::Range(0, 1000))
      ->capture_default_str();
  app.add_option_function<int>(
         "--patience", [&s](int seconds) { s.engine.patience = std::chrono::seconds(seconds); },
         "seconds that the engine has for one answer (default: 60)")
      ->check(CLI::Range(1, 86400));
  app.add_option("--output,-o", s.output, "file to write; it appears when all is done (default: standard output)");
}

}  // namespace
}  // namespace sherd::chess

int main(int argc, char** argv) {
  CLI::App app("games of a UCI engine against itself, as lines of UCI moves", "chess_selfplay");
  sherd::chess::Settings settings;
  sherd::chess::declare(app, settings);
  return sherd::chess::run_program(app, argc, argv, [&settings] { sherd::chess::run(settings); });
}
