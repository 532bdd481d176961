#include "sherd/comm/flight_recorder.hpp"

#include <gtest/gtest.h>

namespace sherd {
namespace {

TEST(FlightRecorder, WritesWhatEndedAndWhatDidNot) {
  FlightRecorder r;
  r.begin(Collective::all_gather, {"gather model.layers.3", 12}, 4096, 100.5);
  r.end(101.25);
  r.begin(Collective::barrier, {"odd \"name\"\n", 13}, 0, 102.0);
  EXPECT_EQ(r.json("shard", "rank 1 (node0)"),
            "{\"axis\": \"shard\", \"who\": \"rank 1 (node0)\", \"collectives\": [\n"
            "  {\"sequence\": 0, \"collective\": \"all_gather\", \"what\": \"gather model.layers.3\", \"step\": 12, "
            "\"bytes\": 4096, \"start\": 100.500000, \"end\": 101.250000},\n"
            "  {\"sequence\": 1, \"collective\": \"barrier\", \"what\": \"odd \\\"name\\\"\\u000a\", \"step\": 13, "
            "\"bytes\": 0, \"start\": 102.000000, \"end\": null}\n]}\n");
  EXPECT_EQ(r.current().tag.step, 13);
}

TEST(FlightRecorder, KeepsTheLast256) {
  FlightRecorder r;
  for (int i = 0; i < 300; ++i) {
    r.begin(Collective::all_reduce, {"x", i}, 4, 1.0);
    r.end(2.0);
  }
  const std::string text = r.json("world", "rank 0");
  EXPECT_EQ(text.find("\"sequence\": 43,"), std::string::npos);
  EXPECT_NE(text.find("[\n  {\"sequence\": 44,"), std::string::npos);
  EXPECT_NE(text.find("\"sequence\": 299,"), std::string::npos);
  EXPECT_EQ(r.current().sequence, 299);
}

TEST(FlightRecorder, IsEmptyAtFirst) {
  FlightRecorder r;
  EXPECT_EQ(r.json("world", "rank 0"), "{\"axis\": \"world\", \"who\": \"rank 0\", \"collectives\": [\n]}\n");
  EXPECT_THROW(r.current(), Error);
}

}  // namespace
}  // namespace sherd
