#pragma once
// Packing: which pieces of which documents form which sequence. The bins depend on the document lengths and on T only:
// not on ranks, batch sizes or seeds.
//
// A document of n tokens has n - 1 (input, next token) pairs and takes n - 1 positions of a sequence: position p reads
// token p and predicts token p + 1. A piece is a range of a document's positions, so two pieces of a split document
// share the token at their border (target of one, input of the other) and no target is lost or seen twice.
#include <cstdint>
#include <functional>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "sherd/data/batch.hpp"

namespace sherd {

class Corpus;
enum class Split : std::uint8_t;

/// `length` positions of one document; reads the length + 1 tokens from first_token.
struct Piece {
  std::int64_t first_token = 0;
  std::int64_t length = 0;
};

enum class Packing {
  packed,  // several documents per sequence, long documents split
  padded,  // one document per sequence, cut after T tokens (T - 1 targets), as the reference demo does
};

struct PackingCounts {
  std::int64_t documents = 0;  // added
  std::int64_t too_short = 0;  // fewer than two tokens: nothing to predict
  std::int64_t split = 0;      // packed: longer than T + 1 tokens, so in several pieces
  std::int64_t cut = 0;        // padded: longer than T tokens, so their end is not used
  std::int64_t positions = 0;  // positions with a target, over all bins
};

/// Bin i is the pieces [begin(i), begin(i + 1)).
class BinTable {
 public:
  std::int64_t size() const { return static_cast<std::int64_t>(begin_.size()) - 1; }
  std::int64_t length() const { return length_; }  // T
  std::span<const Piece> bin(std::int64_t i) const;
  const PackingCounts& counts() const { return counts_; }
  double fill() const;  // positions with a target / all positions
  /// The most documents of one row, unused positions at its end among them (fill_row).
  std::int64_t most_documents() const;

 private:
  friend class BinBuilder;
  std::int64_t length_ = 0;
  std::vector<std::int64_t> begin_{0};
  std::vector<Piece> pieces_;
  PackingCounts counts_;
};

/// Best fit over a bounded window: a piece goes to the open bin that it fills most; when too many bins are open, the
/// fullest is closed. Documents must come in corpus order.
class BinBuilder {
 public:
  BinBuilder(std::int64_t length, Packing packing);
  void add(std::int64_t first_token, std::int64_t tokens);
  BinTable finish();

 private:
  void place(Piece piece);

  Packing packing_;
  BinTable table_;                                        // pieces_ in the order of add(), until finish()
  std::vector<std::int64_t> bin_of_;                      // per piece
  std::set<std::pair<std::int64_t, std::int64_t>> open_;  // (free positions, bin)
  std::int64_t bins_ = 0;
};

/// The bins of one split of a corpus; says once when documents were split, cut or left out.
BinTable make_bins(const Corpus& corpus, Split split, std::int64_t length, Packing packing);

/// Reads tokens [first, first + out.size()) of a corpus.
using TokenReader = std::function<void(std::int64_t first, std::span<std::int32_t> out)>;

/// Row b of a batch from the pieces of a bin. Unused positions at the end: token 0, target -1, a document of their own.
/// `scratch` has T + 1 elements.
void fill_row(HostBatch& batch, std::int64_t b, std::span<const Piece> bin, const TokenReader& read,
              std::span<std::int32_t> scratch);

}  // namespace sherd
