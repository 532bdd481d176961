#include "sherd/data/packing.hpp"

#include <algorithm>

#include "sherd/base/error.hpp"
#include "sherd/base/log.hpp"
#include "sherd/data/corpus.hpp"

namespace sherd {
namespace {

constexpr std::size_t kOpenBins = 512;  // more fill better and cost memory only while packing

}  // namespace

std::span<const Piece> BinTable::bin(std::int64_t i) const {
  SHERD_CHECK(i >= 0 && i < size(), "bin {} of {}", i, size());
  const auto at = static_cast<std::size_t>(i);
  return std::span(pieces_).subspan(static_cast<std::size_t>(begin_[at]),
                                    static_cast<std::size_t>(begin_[at + 1] - begin_[at]));
}

double BinTable::fill() const {
  return size() == 0
             ? 0
             : static_cast<double>(counts_.positions) / (static_cast<double>(size()) * static_cast<double>(length_));
}

std::int64_t BinTable::most_documents() const {
  std::int64_t most = 1;  // a row without a bin is all unused
  for (std::int64_t i = 0; i < size(); ++i) {
    std::int64_t documents = 0, positions = 0;
    for (const Piece& piece : bin(i)) {
      ++documents;
      positions += piece.length;
    }
    most = std::max(most, documents + (positions < length_ ? 1 : 0));
  }
  return most;
}

BinBuilder::BinBuilder(std::int64_t length, Packing packing) : packing_(packing) {
  if (length < 2) throw usage_error("--max-seq-length is {}; at least 2 is needed", length);
  table_.length_ = length;
}

void BinBuilder::add(std::int64_t first_token, std::int64_t tokens) {
  PackingCounts& counts = table_.counts_;
  const std::int64_t length = table_.length_;
  ++counts.documents;
  if (tokens < 2) {
    ++counts.too_short;
    return;
  }
  if (packing_ == Packing::padded) {
    counts.cut += tokens > length;
    bin_of_.push_back(bins_++);
    table_.pieces_.push_back({first_token, std::min(tokens, length) - 1});
    return;
  }
  counts.split += tokens > length + 1;
  for (std::int64_t at = 0; at < tokens - 1; at += length) {
    place({first_token + at, std::min(length, tokens - 1 - at)});
  }
}

void BinBuilder::place(Piece piece) {
  auto best = open_.lower_bound({piece.length, 0});  // the least room that is enough; among equals the oldest bin
  std::int64_t room = table_.length_, bin = bins_;
  if (best != open_.end()) {
    std::tie(room, bin) = *best;
    open_.erase(best);
  } else {
    ++bins_;
  }
  bin_of_.push_back(bin);
  table_.pieces_.push_back(piece);
  if (room > piece.length) open_.insert({room - piece.length, bin});
  if (open_.size() > kOpenBins) open_.erase(open_.begin());
}

BinTable BinBuilder::finish() {
  // Counting sort by bin; stable, so the pieces of a bin stay in corpus order.
  std::vector<std::int64_t> begin(static_cast<std::size_t>(bins_) + 1, 0);
  for (const std::int64_t bin : bin_of_) ++begin[static_cast<std::size_t>(bin) + 1];
  for (std::size_t i = 1; i < begin.size(); ++i) begin[i] += begin[i - 1];
  std::vector<std::int64_t> next(begin.begin(), begin.end() - 1);
  std::vector<Piece> sorted(table_.pieces_.size());
  for (std::size_t i = 0; i < sorted.size(); ++i) {
    table_.counts_.positions += table_.pieces_[i].length;
    sorted[static_cast<std::size_t>(next[static_cast<std::size_t>(bin_of_[i])]++)] = table_.pieces_[i];
  }
  table_.begin_ = std::move(begin);
  table_.pieces_ = std::move(sorted);
  return std::move(table_);
}

BinTable make_bins(const Corpus& corpus, Split split, std::int64_t length, Packing packing) {
  BinBuilder builder(length, packing);
  corpus.for_each_document([&](const Document& document) {
    if (corpus.split_of(document.index) == split) builder.add(document.first_token, document.tokens);
  });
  BinTable table = builder.finish();
  const PackingCounts& counts = table.counts();
  const char* name = split == Split::train ? "training" : "held-out";
  log::info("data: {} {} documents in {} sequences of {}, {:.1f}% filled", counts.documents, name, table.size(), length,
            100 * table.fill());
  if (counts.split > 0) {
    log::info("data: {} {} documents are longer than {} tokens and were split", counts.split, name, length + 1);
  }
  if (counts.cut > 0) {
    log::info("data: {} {} documents are longer than {} tokens and were cut (without --no-packing nothing is lost)",
              counts.cut, name, length);
  }
  if (counts.too_short > 0) {
    log::info("data: {} {} documents have fewer than two tokens and were left out", counts.too_short, name);
  }
  return table;
}

void fill_row(HostBatch& batch, std::int64_t b, std::span<const Piece> bin, const TokenReader& read,
              std::span<std::int32_t> scratch) {
  const std::int64_t length = batch.length, row = b * length;
  std::int64_t at = 0;
  for (const Piece& piece : bin) {
    SHERD_CHECK(at + piece.length <= length, "a bin of more than {} positions", length);
    const auto count = static_cast<std::size_t>(piece.length);
    const auto tokens = scratch.first(count + 1);
    read(piece.first_token, tokens);
    std::copy_n(tokens.begin(), count, batch.tokens.begin() + row + at);
    std::copy_n(tokens.begin() + 1, count, batch.targets.begin() + row + at);
    std::fill_n(batch.doc_start.begin() + row + at, count, static_cast<std::int32_t>(at));
    at += piece.length;
  }
  std::fill(batch.tokens.begin() + row + at, batch.tokens.begin() + row + length, 0);
  std::fill(batch.targets.begin() + row + at, batch.targets.begin() + row + length, -1);
  std::fill(batch.doc_start.begin() + row + at, batch.doc_start.begin() + row + length, static_cast<std::int32_t>(at));
}

}  // namespace sherd
