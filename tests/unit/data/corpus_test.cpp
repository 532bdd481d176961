#include "sherd/data/corpus.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "corpus_files.hpp"
#include "sherd/data/packing.hpp"
#include "sherd/file/hdf5.hpp"

namespace sherd {
namespace {

using test::message_of;
using testing::AllOf;
using testing::HasSubstr;

class CorpusFile : public testing::Test {
 protected:
  test::TemporaryDirectory directory_;
  std::string path_ = directory_ / "corpus.h5";

  void overwrite(std::int64_t offset, const std::string& bytes) {
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(offset);
    file << bytes;
  }
  std::int64_t offset_of(const char* dataset) {
    const h5::File file = h5::open_file(path_);
    return h5::open_plain_dataset(file, dataset, {H5T_STD_U16LE, H5T_STD_U64LE}, path_).offset;
  }
};

TEST_F(CorpusFile, GivesBackWhatWasWritten) {
  test::write_corpus(path_, {{1, 2, 3}, {}, {4}, {5, 60000 - 1}});
  const Corpus corpus(path_);
  EXPECT_EQ(corpus.info().documents, 4);
  EXPECT_EQ(corpus.info().tokens, 6);
  EXPECT_EQ(corpus.info().source, "a test");
  std::vector<std::int32_t> tokens(4);
  corpus.read_tokens(2, tokens);
  EXPECT_EQ(tokens, (std::vector<std::int32_t>{3, 4, 5, 59999}));
  std::vector<std::int64_t> seen;
  corpus.for_each_document([&](const Document& d) { seen.insert(seen.end(), {d.index, d.first_token, d.tokens}); });
  EXPECT_EQ(seen, (std::vector<std::int64_t>{0, 0, 3, 1, 3, 0, 2, 3, 1, 3, 4, 2}));
  corpus.verify_tokens();
}

TEST_F(CorpusFile, HoldsTokensAbove65535In32Bits) {
  CorpusInfo info;
  info.documents = 1;
  info.tokens = 3;
  info.pieces = 128256;
  info.tokenizer_sha256 = std::string(64, 'b');
  const std::vector<std::uint32_t> tokens{0, 65536, 128255};
  {
    CorpusWriter writer(path_, info);
    writer.append_tokens(std::as_bytes(std::span(tokens)));
    writer.append_offsets(std::vector<std::uint64_t>{0, 3});
    EXPECT_FALSE(std::filesystem::exists(path_));
    writer.commit();
  }
  std::vector<std::int32_t> read(3);
  Corpus(path_).read_tokens(0, read);
  EXPECT_EQ(read, (std::vector<std::int32_t>{0, 65536, 128255}));
}

TEST_F(CorpusFile, LeavesNothingBehindWithoutCommit) {
  {
    CorpusInfo info;
    info.documents = info.tokens = info.pieces = 1;
    CorpusWriter writer(path_, info);
  }
  EXPECT_TRUE(std::filesystem::is_empty(directory_.path()));
}

TEST_F(CorpusFile, ReadsLongRangesPieceByPiece) {
  std::vector<std::uint16_t> document(50000);
  for (std::size_t i = 0; i < document.size(); ++i) document[i] = static_cast<std::uint16_t>(i % 59999);
  test::write_corpus(path_, {document});
  std::vector<std::int32_t> tokens(49990);
  Corpus(path_).read_tokens(7, tokens);
  for (std::size_t i = 0; i < tokens.size(); ++i) ASSERT_EQ(tokens[i], document[i + 7]);
}

TEST_F(CorpusFile, SplitsByTheDocumentAlone) {
  std::vector<std::vector<std::uint16_t>> documents(5000, {1, 2, 3});
  test::write_corpus(path_, documents, 0.1);
  const Corpus corpus(path_);
  int held_out = 0;
  for (std::int64_t d = 0; d < 5000; ++d) held_out += corpus.split_of(d) == Split::eval;
  EXPECT_NEAR(held_out, 500, 80);
  const BinTable train = make_bins(corpus, Split::train, 8, Packing::padded);
  const BinTable eval = make_bins(corpus, Split::eval, 8, Packing::padded);
  EXPECT_EQ(eval.size(), held_out);
  EXPECT_EQ(train.size(), 5000 - held_out);
}

TEST_F(CorpusFile, RefusesAMissingFileAndAFileOfAnotherKind) {
  EXPECT_THAT(message_of(ExitCode::bad_input, [&] { Corpus corpus(path_); }), HasSubstr(path_));
  test::write_text(path_, "<html>not found</html>");
  EXPECT_THAT(message_of(ExitCode::bad_input, [&] { Corpus corpus(path_); }), HasSubstr(path_));
  { const h5::File file = h5::create_file(path_); }
  EXPECT_THAT(message_of(ExitCode::bad_input, [&] { Corpus corpus(path_); }), HasSubstr("not a corpus"));
}

TEST_F(CorpusFile, RefusesATruncatedFileOfAnyLength) {
  test::write_corpus(path_, {std::vector<std::uint16_t>(3000, 5)});
  const auto whole = static_cast<std::int64_t>(std::filesystem::file_size(path_));
  for (std::int64_t size = whole - 1; size > 0; size -= 997) {
    std::filesystem::resize_file(path_, static_cast<std::uintmax_t>(size));
    EXPECT_THAT(message_of(ExitCode::bad_input, [&] { Corpus corpus(path_); }), HasSubstr(path_)) << size;
  }
}

TEST_F(CorpusFile, FindsDamagedOffsets) {
  test::write_corpus(path_, {{1, 2, 3}, {4, 5}});
  const std::int64_t at = offset_of("/offsets");
  const auto visit = [&] { Corpus(path_).for_each_document([](const Document&) {}); };
  overwrite(at + 8, std::string(1, 4));  // document 1 begins at 4: a legal table, but not the one that was written
  EXPECT_THAT(message_of(ExitCode::bad_input, visit), HasSubstr("checksum"));
  overwrite(at + 8, std::string(1, 9));  // beyond the end
  EXPECT_THAT(message_of(ExitCode::bad_input, visit), HasSubstr("document 1 begins at token 9"));
  overwrite(at + 8, std::string(1, 3));
  visit();
  overwrite(at, std::string(1, 1));  // the first document does not begin at 0
  EXPECT_THAT(message_of(ExitCode::bad_input, visit), HasSubstr("document 0 begins at token 1"));
}

TEST_F(CorpusFile, FindsDamagedTokens) {
  test::write_corpus(path_, {{1, 2, 3}}, 0, 100);
  overwrite(offset_of("/tokens"), "\x02");
  const Corpus corpus(path_);
  EXPECT_THAT(message_of(ExitCode::bad_input, [&] { corpus.verify_tokens(); }), HasSubstr("checksum"));
  overwrite(offset_of("/tokens"), "\x64");  // 100: the first token that does not exist
  std::vector<std::int32_t> tokens(3);
  EXPECT_THAT(message_of(ExitCode::bad_input, [&] { corpus.read_tokens(0, tokens); }),
              AllOf(HasSubstr("token 100"), HasSubstr("100 pieces")));
}

TEST_F(CorpusFile, RefusesAttributesThatDoNotFitTheData) {
  test::write_corpus(path_, {{1, 2, 3}});
  {
    const h5::File file(HDF5_CHECK(H5Fopen(path_.c_str(), H5F_ACC_RDWR, H5P_DEFAULT)));
    HDF5_CHECK(H5Adelete(file, "token_count"));
    h5::write_attribute(file, "token_count", std::int64_t{1} << 60);
  }
  EXPECT_THAT(message_of(ExitCode::bad_input, [&] { Corpus corpus(path_); }), HasSubstr("/tokens has 3 elements"));
}

TEST_F(CorpusFile, RefusesTokensThatLieElsewhere) {
  test::write_corpus(path_, {{1, 2, 3}});
  {
    const h5::File file(HDF5_CHECK(H5Fopen(path_.c_str(), H5F_ACC_RDWR, H5P_DEFAULT)));
    HDF5_CHECK(H5Ldelete(file, "/tokens", H5P_DEFAULT));
    HDF5_CHECK(H5Lcreate_external("/etc/hostname", "/tokens", file, "/tokens", H5P_DEFAULT, H5P_DEFAULT));
  }
  EXPECT_THAT(message_of(ExitCode::bad_input, [&] { Corpus corpus(path_); }), HasSubstr("/tokens"));
}

TEST_F(CorpusFile, RefusesAnotherTokenizerAndASmallerModel) {
  test::write_corpus(path_, {{1, 2, 3}}, 0, 32016);
  const Corpus corpus(path_);
  corpus.require_tokenizer(std::string(64, 'a'), "tokenizer.model");
  EXPECT_THAT(
      message_of(ExitCode::bad_input, [&] { corpus.require_tokenizer(std::string(64, 'c'), "tokenizer.model"); }),
      AllOf(HasSubstr("another tokenizer"), HasSubstr("aaaaaaaaaaaa"), HasSubstr("cccccccccccc")));
  corpus.require_vocab(32016);
  EXPECT_THAT(message_of(ExitCode::bad_input, [&] { corpus.require_vocab(32000); }),
              AllOf(HasSubstr("32016 pieces"), HasSubstr("32000")));
}

}  // namespace
}  // namespace sherd
