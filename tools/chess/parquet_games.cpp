// Parquet through Apache Arrow's low-level reader, whose interface is the same in every version: a page of each column
// at a time. What a page holds is the file's choice: some MB as published; the library takes up to 2 GiB.
#include <parquet/api/reader.h>

#include <array>
#include <filesystem>
#include <optional>

#include "chess/game_reader.hpp"
#include "chess/moves.hpp"
#include "chess/printable.hpp"
#include "chess/san.hpp"
#include "sherd/base/error.hpp"

namespace sherd::chess {
namespace {

/// Texts of one column of a row group, in order, or lists of them.
class TextColumn {
 public:
  TextColumn(const std::shared_ptr<parquet::ColumnReader>& reader, const std::string& path)
      : reader_(std::static_pointer_cast<parquet::ByteArrayReader>(reader)),
        path_(path),
        present_(reader_->descr()->max_definition_level()) {}

  /// What stands at the next place, which ends the view before: a text, or nothing (null, or a list without elements).
  std::optional<std::string_view> next() {
    require();
    const bool there = definition_[at_] == present_;
    ++at_;
    if (!there) return std::nullopt;
    if (text_ == texts_read_) throw bad_input("{}: a column has fewer texts than it announces", path_);
    const parquet::ByteArray& text = texts_[text_++];
    return std::string_view(reinterpret_cast<const char*>(text.ptr), text.len);
  }
  /// In a column of lists: the next place belongs to the same row as the one before.
  bool row_goes_on() {
    if (at_ == read_ && !fill()) return false;
    return repetition_[at_] > 0;
  }

 private:
  void require() {
    if (at_ == read_ && !fill()) throw bad_input("{}: a column ends before the others", path_);
  }
  bool fill() {
    if (!reader_->HasNext()) return false;
    repetition_.fill(0);
    definition_.fill(present_);  // of columns that have no levels
    read_ = reader_->ReadBatch(kBatch, definition_.data(), repetition_.data(), texts_.data(), &texts_read_);
    at_ = text_ = 0;
    return read_ > 0;
  }

  static constexpr std::int64_t kBatch = 4096;

  std::shared_ptr<parquet::ByteArrayReader> reader_;
  const std::string& path_;
  std::int16_t present_;
  std::array<std::int16_t, kBatch> definition_{}, repetition_{};
  std::array<parquet::ByteArray, kBatch> texts_{};
  std::int64_t at_ = 0, read_ = 0, text_ = 0, texts_read_ = 0;
};

/// Only what every version of the library throws at a bad file; our own errors pass.
template <class F>
auto reading(const std::string& path, F&& call) {
  try {
    return call();
  } catch (const Error&) {
    throw;
  } catch (const std::exception& e) {
    throw bad_input("{}: not readable as Parquet: {}", path, printable(e.what(), 200));
  }
}

class ParquetGames : public GameReader {
 public:
  ParquetGames(const std::string& path, TagFilter filter) : path_(path), filter_(std::move(filter)) {
    reading(path_, [&] {
      bytes_ = static_cast<std::int64_t>(std::filesystem::file_size(path_));
      parquet::ReaderProperties properties;
      properties.enable_buffered_stream();
      file_ = parquet::ParquetFileReader::OpenFile(path_, false, properties);
      rows_ = file_->metadata()->num_rows();
    });
    moves_column_ = column_of("Moves", 1);
    result_column_ = column_of("Result", 0);
    if (moves_column_ < 0 || result_column_ < 0) {
      throw bad_input("{}: expected columns Moves (a list of texts) and Result (text); it has {}", path_, columns());
    }
    termination_column_ = column_of("Termination", 0);
  }

  bool next(GameRecord& game) override {
    return reading(path_, [&] {
      while (rows_left_ == 0) {
        if (group_ == file_->metadata()->num_row_groups()) return false;
        open_group();
      }
      --rows_left_;
      read_row(game);
      return true;
    });
  }

  bool has_ratings() const override { return false; }
  /// Of the file, in proportion to the rows that have been read.
  std::int64_t bytes() const override {
    const double part = rows_ > 0 ? static_cast<double>(number_) / static_cast<double>(rows_) : 1;
    return static_cast<std::int64_t>(part * static_cast<double>(bytes_));
  }

 private:
  /// -1 where there is no such column of texts, in lists as deep as that.
  int column_of(const std::string& name, int depth) const {
    const parquet::SchemaDescriptor* schema = file_->metadata()->schema();
    for (int i = 0; i < schema->num_columns(); ++i) {
      const parquet::ColumnDescriptor* column = schema->Column(i);
      if (schema->GetColumnRoot(i)->name() == name && column->max_repetition_level() == depth &&
          column->physical_type() == parquet::Type::BYTE_ARRAY) {
        return i;
      }
    }
    return -1;
  }

  std::string columns() const {
    std::string names;
    const parquet::SchemaDescriptor* schema = file_->metadata()->schema();
    for (int i = 0; i < schema->num_columns() && i < 20; ++i) {
      names += (i > 0 ? ", " : "") + printable(schema->Column(i)->path()->ToDotString(), 60);
    }
    return names.empty() ? "none" : names;
  }

  void open_group() {
    const std::shared_ptr<parquet::RowGroupReader> group = file_->RowGroup(group_++);
    rows_left_ = group->metadata()->num_rows();
    if (rows_left_ < 0) throw bad_input("{}: a row group of {} rows", path_, rows_left_);
    moves_.emplace(group->Column(moves_column_), path_);
    result_.emplace(group->Column(result_column_), path_);
    termination_.reset();
    if (termination_column_ >= 0) termination_.emplace(group->Column(termination_column_), path_);
  }

  void read_row(GameRecord& game) {
    game.number = game.line = ++number_;
    game.verdict = Verdict::kept;
    game.fault.clear();
    game.moves.clear();
    game.plies = 0;
    game.tags = {};
    game.tags.result = result_->next().value_or("");
    if (termination_) game.tags.termination = termination_->next().value_or("");
    game.result = known_result(game.tags.result);
    if (game.result.empty()) fault(game, "no result: " + printable(game.tags.result, 20));
    if (game.verdict == Verdict::kept) game.verdict = filter_(game.tags);
    read_moves(game);
  }

  static std::string_view known_result(std::string_view text) {
    for (const std::string_view result : {"1-0", "0-1", "1/2-1/2", "*"}) {
      if (text == result) return result;
    }
    return "";
  }

  static void fault(GameRecord& game, const std::string& what) {
    game.verdict = Verdict::broken;
    game.fault = fmt::format("row {}: {}", game.line, what);
  }

  /// All of the row, whatever becomes of the game.
  void read_moves(GameRecord& game) {
    if (moves_->row_goes_on()) throw bad_input("{}: row {} begins in the middle of a list", path_, game.line);
    Position position = start_position();
    bool first = true;
    do {
      const std::optional<std::string_view> text = moves_->next();
      if (game.verdict != Verdict::kept) continue;
      if (!text && !(first && !moves_->row_goes_on()))
        fault(game, "a move is missing");
      else if (text)
        read_move(game, position, *text);
      first = false;
    } while (moves_->row_goes_on());
    if (game.verdict == Verdict::kept && game.plies == 0) game.verdict = Verdict::no_moves;
  }

  static void read_move(GameRecord& game, Position& position, std::string_view text) {
    Move move;
    if (const char* wrong = parse_uci(position, text, move)) {
      return fault(game, fmt::format("{}: {}", wrong, printable(text, 20)));
    }
    std::array<char, 8> name{};
    game.moves.append(name.data(), write_uci(move, name.data())).push_back(' ');
    apply(position, move);
    ++game.plies;
    if (game.moves.size() > kLongestGame) game.verdict = Verdict::too_long;
  }

  const std::string path_;
  TagFilter filter_;
  std::unique_ptr<parquet::ParquetFileReader> file_;
  int moves_column_ = -1, result_column_ = -1, termination_column_ = -1;
  int group_ = 0;
  std::optional<TextColumn> moves_, result_, termination_;
  std::int64_t rows_left_ = 0, rows_ = 0, number_ = 0, bytes_ = 0;
};

}  // namespace

std::unique_ptr<GameReader> parquet_games(const std::string& path, TagFilter filter) {
  return std::make_unique<ParquetGames>(path, std::move(filter));
}

}  // namespace sherd::chess
