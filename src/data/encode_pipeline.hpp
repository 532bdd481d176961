#pragma once
// Lines to tokens on several threads: a thread takes the next block of lines, parses and encodes it, and whoever holds
// the block that is next in order writes it. Blocks ahead of their turn wait in a bounded queue.
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "sherd/data/text_lines.hpp"
#include "sherd/data/tokenizer.hpp"

namespace sherd {

struct EncodeOptions {
  bool skip_bad_lines = false;
  int bos = -1, eos = -1;  // -1: not added
  int token_bytes = 2;
  std::int64_t threads = 1;
};

struct EncodedBlock {
  std::vector<std::byte> tokens;       // of token_bytes each
  std::vector<std::uint32_t> lengths;  // tokens per document
  std::int64_t bad_lines = 0;
  std::int64_t bytes = 0;  // of the lines
};

/// Encodes all of `lines`; `write` gets the blocks in order, from one thread at a time. What a thread throws (bad input
/// with file and line number for a broken line) stops the others and is thrown here: that of the earliest block.
void encode_lines(LineBlocks& lines, const Tokenizer& tokenizer, const EncodeOptions& options,
                  const std::function<void(const EncodedBlock&)>& write);

}  // namespace sherd
