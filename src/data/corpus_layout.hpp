#pragma once
// The names in a corpus file, for its reader and its writer.

namespace sherd::layout {

inline constexpr const char* kName = "sherd corpus 1";
inline constexpr const char* kTokens = "/tokens";
inline constexpr const char* kOffsets = "/offsets";
inline constexpr const char* kFormat = "format";
inline constexpr const char* kDocuments = "documents";
inline constexpr const char* kTokenCount = "token_count";
inline constexpr const char* kPieces = "pieces";
inline constexpr const char* kTokenizer = "tokenizer_sha256";
inline constexpr const char* kSource = "source";
inline constexpr const char* kEvalFraction = "eval_fraction";
inline constexpr const char* kSplitSeed = "split_seed";
inline constexpr const char* kTokensCrc = "tokens_crc32c";
inline constexpr const char* kOffsetsCrc = "offsets_crc32c";

}  // namespace sherd::layout
