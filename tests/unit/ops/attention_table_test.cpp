// The table of attention as text.
#include "../../../src/ops/cuda/attention_table.hpp"

#include <gtest/gtest.h>

#include "../../../src/ops/cuda/algorithm_text.hpp"
#include "sherd/base/error.hpp"

namespace sherd::cuda {
namespace {

using Verdict = AttentionTable::Verdict;

const AttentionTarget kTarget{"cuDNN 9.26.0", "NVIDIA H100 80GB HBM3", 90, 132};

AttentionTable sample() {
  AttentionTable table;
  const AttentionKey key{4, 1024, {32, 8, 128}, 64};
  table.set({key, false}, {Verdict::faster, 123.45, 67.5});
  table.set({key, true}, {Verdict::slower, 400, 400.25});
  table.set({{1, 7, {2, 1, 8}, 0}, true}, {Verdict::wrong, 1, 0});
  return table;
}

std::string error_of(const std::string& text) {
  std::string reason;
  try {
    AttentionTable::parse(text, kTarget, reason);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::bad_input);
    return e.what();
  }
  return "";
}

TEST(AttentionTable, ComesBackFromText) {
  const std::string text = sample().text(kTarget);
  EXPECT_NE(text.find("sherd-attention 1 cuDNN 9.26.0 sm 90 multiprocessors 132 device NVIDIA H100 80GB HBM3\n"),
            std::string::npos);
  EXPECT_NE(text.find("\nB 4 T 1024 heads 32 8 128 documents 64 forward own us 123.45 cudnn us 67.50 faster\n"),
            std::string::npos)
      << text;
  std::string reason;
  const auto again = AttentionTable::parse(text, kTarget, reason);
  ASSERT_TRUE(again) << reason;
  EXPECT_EQ(again->text(kTarget), text);
  EXPECT_EQ(again->all().size(), 3u);
  const AttentionKey key{4, 1024, {32, 8, 128}, 64};
  EXPECT_TRUE(again->find({key, false})->by_cudnn());
  EXPECT_FALSE(again->find({key, true})->by_cudnn());
  EXPECT_EQ(again->find({key, true})->cudnn, 400.25);
  EXPECT_EQ(again->find({{4, 1024, {32, 8, 128}, 65}, false}), nullptr);
}

TEST(AttentionTable, OnlyAFasterOneIsChosen) {
  for (const Verdict verdict :
       {Verdict::faster, Verdict::slower, Verdict::wrong, Verdict::unrepeatable, Verdict::refused}) {
    AttentionTable table;
    table.set({}, {verdict, 2, 1});
    std::string reason;
    const auto again = AttentionTable::parse(table.text(kTarget), kTarget, reason);
    ASSERT_TRUE(again) << reason;
    EXPECT_EQ(again->find({})->verdict, verdict);
    EXPECT_EQ(again->find({})->by_cudnn(), verdict == Verdict::faster);
  }
}

TEST(AttentionTable, OfAnotherMachineIsIgnoredWithAReason) {
  for (const AttentionTarget& other : {AttentionTarget{"cuDNN 9.26.1", kTarget.device, 90, 132},
                                       {kTarget.library, "NVIDIA H200", 90, 132},
                                       {kTarget.library, kTarget.device, 100, 132},
                                       {kTarget.library, kTarget.device, 90, 114}}) {
    std::string reason;
    EXPECT_FALSE(AttentionTable::parse(sample().text(kTarget), other, reason));
    EXPECT_NE(reason.find("cuDNN 9.26.0 sm 90"), std::string::npos) << reason;
  }
  std::string reason;
  EXPECT_FALSE(AttentionTable::parse("", kTarget, reason));
  EXPECT_FALSE(AttentionTable::parse(std::string("\0\xff garbage", 10), kTarget, reason));
}

TEST(AttentionTable, DamageNamesTheLine) {
  const std::string text = sample().text(kTarget);
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string out = text;
    out.replace(out.find(from), from.size(), to);
    return error_of(out);
  };
  EXPECT_NE(with("T 7", "T -7").find("table of attention, line 2, word 4"), std::string::npos) << with("T 7", "T -7");
  EXPECT_NE(with("T 7", "T 9999999999999999").find("line 2"), std::string::npos);
  EXPECT_NE(with("T 7", "T 8").find("checksum"), std::string::npos);
  EXPECT_NE(with("forward", "sideward").find("'forward' or 'backward'"), std::string::npos);
  EXPECT_NE(with("faster", "best").find("'faster' or 'slower' or"), std::string::npos) << with("faster", "best");
  EXPECT_NE(with("123.45", "nan").find("line 3"), std::string::npos) << with("123.45", "nan");
  EXPECT_NE(with("123.45", "-1").find("line 3"), std::string::npos);
  EXPECT_NE(with("faster", "faster ").find("too long"), std::string::npos);
  EXPECT_NE(with("end 3", "end 2").find("number of lines"), std::string::npos);
  EXPECT_NE(with("64 backward", "64 forward").find("second line"), std::string::npos);
  EXPECT_NE(error_of(text + "more").find("after its end"), std::string::npos);
  for (std::size_t cut = text.find('\n') + 1; cut < text.size() - 1; cut += 3)
    EXPECT_FALSE(error_of(text.substr(0, cut)).empty()) << cut;
  EXPECT_NE(error_of(std::string(5 << 20, 'x')).find("bytes"), std::string::npos);
}

TEST(Sections, ComeApart) {
  const std::string attention = sample().text(kTarget), products = "sherd-gemm-table 1 x\nend 0 0\n";
  EXPECT_EQ(sections_of(products + attention).products, products);
  EXPECT_EQ(sections_of(products + attention).attention, attention);
  EXPECT_EQ(sections_of(products).products, products);
  EXPECT_EQ(sections_of(products).attention, "");
  EXPECT_EQ(sections_of(attention).products, "");
  EXPECT_EQ(sections_of(attention).attention, attention);
  EXPECT_EQ(sections_of("").products, "");
}

}  // namespace
}  // namespace sherd::cuda
