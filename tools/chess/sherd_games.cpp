// sherd-games [filters] FILE.pgn|FILE.pgn.zst|FILE.parquet|- ... > games.jsonl: published chess games as the text a
// model is trained on, one JSON object a line: {"text":"e2e4 c7c5 ... 1-0"}. Games that are broken, not standard chess,
// or refused by a filter are counted on standard error.
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "chess/game_filter.hpp"
#include "chess/game_writer.hpp"
#include "chess/program.hpp"
#include "sherd/base/error.hpp"

namespace sherd::chess {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::array<const char*, kVerdicts> kReasons{"written",
                                                      "broken",
                                                      "longer than 1 MiB",
                                                      "not standard chess",
                                                      "from a set-up position",
                                                      "without any moves",
                                                      "refused by rating",
                                                      "refused by result",
                                                      "refused by termination",
                                                      "refused by length"};

struct Settings {
  std::vector<std::string> inputs;
  std::string output;
  GameFilter filter;
  int shown_faults = 10;
};

struct Tally {
  std::int64_t games = 0, plies = 0, bytes = 0;
  std::array<std::int64_t, kVerdicts> by_verdict{};
  Clock::time_point start = Clock::now(), shown = start;

  std::int64_t count(Verdict v) const { return by_verdict[static_cast<std::size_t>(v)]; }
  double seconds() const { return std::chrono::duration<double>(Clock::now() - start).count(); }
};

void tell_fault(const Settings& s, const Tally& tally, const std::string& path, const GameRecord& game) {
  const std::int64_t told = tally.count(Verdict::broken) + tally.count(Verdict::too_long);
  if (told > s.shown_faults) return;
  const std::string what =
      game.verdict == Verdict::too_long ? fmt::format("line {}: longer than 1 MiB", game.line) : game.fault;
  fmt::print(stderr, "sherd-games: {}: game {} is left out: {}\n", path, game.number, what);
  if (told == s.shown_faults) fmt::print(stderr, "sherd-games: further broken games are only counted\n");
}

/// On a terminal one line that is written over, else a line now and then for a log.
void tell_progress(Tally& tally, std::int64_t bytes) {
  static const bool terminal = ::isatty(STDERR_FILENO) == 1;
  const auto now = Clock::now();
  if (now - tally.shown < std::chrono::seconds(terminal ? 1 : 30)) return;
  tally.shown = now;
  const double mb = static_cast<double>(tally.bytes + bytes) / 1e6;
  fmt::print(stderr, "{}sherd-games: {:.0f} MB, {:.0f} MB/s, {} games read, {} written{}", terminal ? "\r" : "", mb,
             mb / tally.seconds(), tally.games, tally.count(Verdict::kept), terminal ? "   " : "\n");
}

void convert(const Settings& s, const std::string& path, GameWriter& writer, Tally& tally) {
  const std::unique_ptr<GameReader> reader =
      open_games(path, [&s](const GameTags& tags) { return s.filter.by_tags(tags); });
  if (s.filter.by_rating() && !reader->has_ratings()) {
    throw usage_error("{}: a Parquet file says nothing of ratings; leave out --min-rating and --max-rating", path);
  }
  GameRecord game;
  while (reader->next(game)) {
    game.verdict = s.filter.by_game(game);
    ++tally.games;
    ++tally.by_verdict[static_cast<std::size_t>(game.verdict)];
    if (game.verdict == Verdict::kept) {
      writer.write(game.moves, game.result);
      tally.plies += game.plies;
    } else if (game.verdict == Verdict::broken || game.verdict == Verdict::too_long) {
      tell_fault(s, tally, path, game);
    }
    if (tally.games % 1024 == 0) tell_progress(tally, reader->bytes());
  }
  if (game.number == 0) throw bad_input("{}: no game in {} bytes", path, reader->bytes());
  tally.bytes += reader->bytes();
}

void tell_summary(const Tally& tally) {
  const double mb = static_cast<double>(tally.bytes) / 1e6, seconds = tally.seconds();
  fmt::print(stderr, "{}sherd-games: {} games read from {:.1f} MB in {:.1f} s ({:.0f} MB/s), {} plies written\n",
             ::isatty(STDERR_FILENO) == 1 ? "\r" : "", tally.games, mb, seconds, mb / seconds, tally.plies);
  for (std::size_t i = 0; i < kVerdicts; ++i) {
    if (i == 0 || tally.by_verdict[i] > 0) fmt::print(stderr, "  {:>12} {}\n", tally.by_verdict[i], kReasons[i]);
  }
}

void run(const Settings& s) {
  s.filter.validate();
  if (s.output.empty() && ::isatty(STDOUT_FILENO) == 1) {
    throw usage_error("games are not written to a terminal; add --output FILE, > FILE or | PROGRAM");
  }
  GameWriter writer(s.output);
  Tally tally;
  for (const std::string& path : s.inputs) convert(s, path, writer, tally);
  if (tally.count(Verdict::broken) + tally.count(Verdict::too_long) == tally.games) {
    throw bad_input("none of {} games can be read; see the lines above", tally.games);
  }
  writer.finish();
  tell_summary(tally);
}

void declare(CLI::App& app, Settings& s) {
  app.add_option("FILE", s.inputs, "files of PGN, zstd-compressed or not, or Parquet; - is PGN from standard input")
      ->required();
  app.add_option("--output,-o", s.output, "file to write; it appears when all is done (default: standard output)");
  app.add_option("--min-rating", s.filter.min_rating, "least rating of both players");
  app.add_option("--max-rating", s.filter.max_rating, "largest rating of both players");
  app.add_option("--result", s.filter.results, "results wanted: 1-0, 0-1, 1/2-1/2, * (default: all but *)")
      ->delimiter(',')
      ->allow_extra_args(false);
  app.add_option("--termination", s.filter.terminations, "terminations wanted, e.g. Normal (default: any)")
      ->delimiter(',')
      ->allow_extra_args(false);
  app.add_option("--min-plies", s.filter.min_plies, "least number of half-moves")->check(CLI::NonNegativeNumber);
  app.add_option("--max-plies", s.filter.max_plies, "largest number of half-moves")->check(CLI::NonNegativeNumber);
  app.add_option("--show-faults", s.shown_faults, "how many broken games to describe")->capture_default_str();
}

}  // namespace
}  // namespace sherd::chess

int main(int argc, char** argv) {
  CLI::App app("published chess games to lines of UCI moves", "sherd-games");
  sherd::chess::Settings settings;
  sherd::chess::declare(app, settings);
  return sherd::chess::run_program(app, argc, argv, [&settings] { sherd::chess::run(settings); });
}
